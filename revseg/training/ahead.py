"""The conversations that a run begins, in order, their clips decoded by a thread while the policy is busy.

Which samples a step draws depends on seed and step alone, so the next ones are known before this step has ended. One
thread reads them, in the order in which they are used: what a run computes is the same with and without it.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

from revseg.clip_cache import CachedSampler
from revseg.pipeline import ReVSeg
from revseg.training.config import TrainConfig
from revseg.training.rollouts import drawn, with_truth
from revseg.types import Dataset, Rollout, Sample

T = TypeVar("T")
Start = tuple[Sample, Rollout]  # a conversation before its first round


class Ahead(Generic[T]):
    """`begin(index)` for each index in order, made by a thread, at most `ahead` of them before they are taken.

    With `ahead=0` each is made when it is taken, in the caller's thread. An error is raised where its item is taken.
    The thread ends with the block.
    """

    def __init__(self, begin: Callable[[int], T], indices: Iterator[int], ahead: int) -> None:
        self._begin, self._indices, self._ahead = begin, indices, ahead
        self._waiting: deque[Future[T]] = deque()
        self._thread = ThreadPoolExecutor(1, "clips") if ahead else None

    def __enter__(self) -> "Ahead[T]":
        self._fill()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)

    def take(self, count: int) -> list[T]:
        """The next `count` of them; fewer at the end."""
        found: list[T] = []
        while len(found) < count:
            if self._thread is None:
                index = next(self._indices, None)
                if index is None:
                    break
                found.append(self._begin(index))
            elif self._waiting:
                first = self._waiting.popleft()
                self._fill()
                found.append(first.result())
            else:
                break
        return found

    def _fill(self) -> None:
        while self._thread is not None and len(self._waiting) < self._ahead:
            index = next(self._indices, None)
            if index is None:
                return
            self._waiting.append(self._thread.submit(self._begin, index))


def starts_of(
    model: ReVSeg, dataset: Dataset, config: TrainConfig, steps: range, process: int = 0, processes: int = 1
) -> Ahead[Start]:
    """The samples and first clips of one process's share of the queries of these steps."""
    settled = model.resolved()
    if config.clip_cache is not None:
        kept = CachedSampler(path=config.clip_cache, of=settled.sampler, gigabytes=config.clip_cache_gb)
        settled = settled.replace(sampler=kept)
    assert settled.built_sampler is not None  # built here, not in the thread

    def begin(index: int) -> Start:
        sample = with_truth(dataset, index)
        return sample, settled.start(sample)

    return Ahead(begin, _indices(len(dataset), config, steps, process, processes), config.prefetch)


def _indices(size: int, config: TrainConfig, steps: range, process: int, processes: int) -> Iterator[int]:
    for step in steps:
        yield from drawn(size, config.queries_per_step, step, config.seed)[process::processes]
