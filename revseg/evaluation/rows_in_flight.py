"""Rows of a policy behind a server: finished conversations are tracked and scored while others are open.

Samples are loaded, tracked and scored in the caller's thread.
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

from revseg.errors import RunStopped
from revseg.evaluation.in_flight import InFlight, Outcome
from revseg.evaluation.rows import Timings, finish, load
from revseg.pipeline import ReVSeg
from revseg.types import Dataset, Sample, ServedPolicy


def rows_in_flight(
    model: ReVSeg, policy: ServedPolicy, data: Dataset, indices: Sequence[int], concurrency: int
) -> Iterator[dict[str, Any]]:
    """One row for each index, in order, with `concurrency` requests open at a time.

    At most twice as many conversations are open, and four times as many rows begun while an earlier one is missing.
    RunStopped comes after the rows of all conversations that are over.
    """
    with InFlight(model, policy, concurrency) as talk:
        work = _Work(model, data, indices, talk)
        for place in range(len(indices)):
            while place not in work.rows and work.stopped is None:
                work.begin(2 * concurrency, place + 4 * concurrency)
                if place not in work.rows:
                    work.finish_one()
            if work.stopped is not None:
                break
            yield work.rows.pop(place)
        while work.open:
            work.finish_one()
    for place in sorted(work.rows):
        yield work.rows.pop(place)
    if work.stopped is not None:
        raise work.stopped


class _Work:
    """Open conversations by their futures, and finished rows by their position in `indices`."""

    def __init__(self, model: ReVSeg, data: Dataset, indices: Sequence[int], talk: InFlight) -> None:
        self.model, self.data, self.indices, self.talk = model, data, indices, talk
        self.open: dict[Future[Outcome], tuple[int, Sample, Timings]] = {}
        self.rows: dict[int, dict[str, Any]] = {}
        self.stopped: RunStopped | None = None
        self._begun = 0

    def begin(self, most: int, end: int) -> None:
        """Load samples up to position `end` and begin their conversations, until `most` are open.

        Samples are loaded, tracked and scored in the caller's thread.
        """
        while len(self.open) < most and self._begun < min(end, len(self.indices)):
            place, index = self._begun, self.indices[self._begun]
            self._begun += 1
            found = load(self.data, index)
            if isinstance(found, dict):
                self.rows[place] = found
                continue
            sample, timings = found
            began = time.perf_counter()
            try:
                start = self.model.start(sample)
            except RunStopped:
                raise
            except Exception as error:
                timings["rollout"] = time.perf_counter() - began
                self.rows[place] = finish(self.model, index, sample, error, timings)
                continue
            timings["rollout"] = time.perf_counter() - began
            self.open[self.talk.submit(start)] = place, sample, timings

    def finish_one(self) -> None:
        """Wait for a conversation to end and make its row; the earliest one if several have ended."""
        done = wait([*self.open, self.talk.ended], return_when=FIRST_COMPLETED).done & self.open.keys()
        if not done:
            self.talk.ended.result()  # raises what ended the thread
        future = min(done, key=lambda one: self.open[one][0])
        place, sample, timings = self.open.pop(future)
        try:
            rollout, seconds = future.result()
        except RunStopped as error:
            self.stopped = self.stopped or error
            self.open = {one: what for one, what in self.open.items() if not one.cancel()}  # keeps those that ended
            return
        if isinstance(rollout, BaseException) and not isinstance(rollout, Exception):
            raise rollout
        timings["rollout"] += seconds
        self.rows[place] = finish(self.model, self.indices[place], sample, rollout, timings)
