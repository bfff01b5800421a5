"""Batches made ahead of the steps that need them, in processes of their own."""

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


def prepared(make: Callable[[int], T], steps: range, workers: int = 0) -> Iterator[T]:
    """`make(step)` for each step in order, in so many worker processes; with none, here and when it is asked for.

    `make` has to give the same for a step wherever it runs, and must not touch an accelerator: workers are forked.
    """
    if not workers:
        yield from map(make, steps)
        return
    from torch.utils.data import DataLoader

    made: Any = _Made(make, steps)
    options: dict[str, Any] = {"batch_size": None, "collate_fn": _as_it_is, "multiprocessing_context": "fork"}
    yield from DataLoader(made, num_workers=workers, **options)


class _Made(Generic[T]):
    """What torch's loader takes for a dataset."""

    def __init__(self, make: Callable[[int], T], steps: range) -> None:
        self.make, self.steps = make, steps

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int) -> T:
        return self.make(self.steps[index])


def _as_it_is(item: T) -> T:
    return item
