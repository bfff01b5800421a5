"""Several conversations with a policy behind a server at a time.

An event loop in a thread of its own waits for the server. A second thread runs plans, prompts and parsers, because
resizing a clip takes long enough to hold up the replies of other conversations.

`concurrency` bounds the requests at the server. `rows_in_flight` keeps twice as many conversations open, so that the
next request is ready, with its pictures encoded, when the server has room for it.
"""

import asyncio
import contextlib
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any

from revseg import checked
from revseg.errors import InputError, RunStopped
from revseg.pipeline import ReVSeg
from revseg.rollout.converse import converse_async
from revseg.types import (
    Message,
    NeedsTruth,
    PreparesRequests,
    Reply,
    ReplyOne,
    Rollout,
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
