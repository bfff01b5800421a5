"""Rows of a policy behind a server: several conversations in flight while finished ones are tracked and scored.

An event loop in a thread of its own waits for the server. A second thread runs plans, prompts and parsers, because
resizing a clip takes long enough to hold up the replies of other conversations. Samples are loaded, tracked and scored
in the caller's thread.

`concurrency` bounds the requests at the server. Twice as many conversations are open, so that the next request is
ready, with its pictures encoded, when the server has room for it.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any

from revseg import checked
from revseg.errors import InputError, RunStopped
from revseg.evaluation.rows import Timings, finish, load
from revseg.pipeline import ReVSeg
from revseg.rollout.converse import converse_async
from revseg.types import (
    Dataset,
    Message,
    NeedsTruth,
    PreparesRequests,
    Reply,
    ReplyOne,
    Rollout,
    Sample,
    ServedPolicy,
)

Outcome = tuple[Rollout | BaseException, float]  # a conversation or what broke it, and its seconds


def served(policy: Any) -> ServedPolicy | None:
    """The policy, if it can be asked from an event loop; None otherwise."""
    return policy if isinstance(policy, ServedPolicy) and not isinstance(policy, NeedsTruth) else None


def conversations_at_a_time(policy: Any, asked: int | None, batch: int) -> int:
    """The number of requests at a time; 1 means batches. InputError for a number that the policy cannot have."""
    server = served(policy)
    if server is None:
        if asked not in (None, 1):
            raise InputError(
                f"concurrency={asked} is for a served policy such as openai, this one runs here: use batch= (--batch)"
            )
        return 1
    if batch > 1:
        if asked not in (None, 1):
            raise InputError(f"expected concurrency or batch above 1, not both; got {asked} and {batch}")
        return 1
    return checked.concurrency(server) if asked is None else asked


class InFlight:
    """Conversations with a served policy, at most `concurrency` requests at a time; its threads end with the block."""

    def __init__(self, model: ReVSeg, policy: ServedPolicy, concurrency: int) -> None:
        self._policy, self._plan, self._rounds = policy, model.built_plan, model.max_rounds
        self._sampling = model.resolved().sampling
        self._requests = asyncio.Semaphore(concurrency)
        self._over = asyncio.Event()
        self._parts = ThreadPoolExecutor(1, "plans and parsers")
        self._ready: Future[tuple[asyncio.AbstractEventLoop, ReplyOne]] = Future()
        self.ended: Future[Any] = Future()  # of the event loop's thread; done early when it failed
        self._thread = threading.Thread(target=self._run, name="conversations", daemon=True)

    def __enter__(self) -> "InFlight":
        self._thread.start()
        wait((self._ready, self.ended), return_when=FIRST_COMPLETED)
        if not self._ready.done():
            self.ended.result()  # raises what `connected` did
        self._loop, self._reply_one = self._ready.result()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended by an error of its own
            self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
        if kind is None:
            self.ended.result()

    def submit(self, start: Rollout) -> Future[Outcome]:
        """Begin the conversation from `start` on; RunStopped is the only error of the future."""
        conversation = self._converse(start)
        try:
            return asyncio.run_coroutine_threadsafe(conversation, self._loop)
        except RuntimeError:  # the loop has ended by an error of its own: that is the one to raise
            conversation.close()
            self.ended.result()
            raise

    async def _converse(self, start: Rollout) -> Outcome:
        waited = 0.0  # for room at the server
        prepare = self._reply_one.prepare if isinstance(self._reply_one, PreparesRequests) else None

        async def generate(rollout: Rollout, message: Message) -> Reply:
            nonlocal waited
            if prepare is not None:
                await prepare(rollout, message)
            ready = time.perf_counter()
            async with self._requests:
                waited += time.perf_counter() - ready
                return checked.replies(self._policy, [await self._reply_one(rollout, message)], 1)[0]

        began = time.perf_counter()
        found: Rollout | BaseException
        rounds, limit = self._rounds, self._sampling.limit
        try:
            found = await converse_async(
                start, generate, self._plan, max_rounds=rounds, limit=limit, executor=self._parts
            )
        except RunStopped:
            raise
        except (Exception, SystemExit) as error:  # an exit is raised again where it ends the run, not the loop
            found = error
        return found, time.perf_counter() - began - waited

    def _run(self) -> None:
        try:
            with self._parts:
                self.ended.set_result(asyncio.run(self._serve()))
        except BaseException as error:
            self.ended.set_exception(error)

    async def _serve(self) -> None:
        async with self._policy.connected(sampling=self._sampling) as reply_one:
            self._ready.set_result((asyncio.get_running_loop(), reply_one))
            await self._over.wait()
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)


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
        """Load samples up to position `end` and begin their conversations, until `most` are open."""
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
