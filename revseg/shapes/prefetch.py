"""Batches made in worker processes before the training step that needs them."""

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


def prefetch(make: Callable[[int], T], steps: range, workers: int = 0) -> Iterator[T]:
    """`make(step)` for each step in order, made by `workers` processes; with 0, in this process when asked for.

    `make` must return the same for a step in any process, and must not use an accelerator: workers are forked.
    """
    if not workers:
        yield from map(make, steps)
        return
    from torch.utils.data import DataLoader

    batches: Any = _Batches(make, steps)
    options: dict[str, Any] = {"batch_size": None, "collate_fn": _unchanged, "multiprocessing_context": "fork"}
    yield from DataLoader(batches, num_workers=workers, **options)


class _Batches(Generic[T]):
    """The batches as a dataset, which is what torch's DataLoader takes."""

    def __init__(self, make: Callable[[int], T], steps: range) -> None:
        self.make, self.steps = make, steps

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int) -> T:
        return self.make(self.steps[index])


def _unchanged(item: T) -> T:
    return item
