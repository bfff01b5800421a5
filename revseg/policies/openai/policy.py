"""A policy behind a server with OpenAI's chat API: vLLM, SGLang, or a hosted model."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from revseg.errors import InputError, PartError, RevsegError, RunStopped
from revseg.policies.openai.access import Access
from revseg.policies.openai.failures import failure_of, not_a_completion
from revseg.policies.openai.http import bounded_client
from revseg.policies.openai.messages import MessageEncoder
from revseg.policies.openai.reply import Unreadable, read_reply
from revseg.policies.row_seeds import row_seeds
from revseg.registry import register
from revseg.types import Message, Reply, ReplyOne, Rollout, Sampling

T = TypeVar("T")


@register("policy", "openai")
class OpenAIPolicy:
    """Any OpenAI-compatible chat server, through the official client. Every request holds the whole conversation.

    Options:
        model: its name on the server.
        base_url: such as http://localhost:8000/v1, with user name and password if needed; by default OPENAI_BASE_URL,
            else OpenAI's own.
        api_key, api_key_env: the key, or the environment variable that has it. A local server needs none.
        timeout: seconds without a byte from the server.
        deadline: seconds for one reply, including all retries.
        max_bytes: of one reply.
        retries: after a failed connection, a time-out, HTTP 429 or 5xx, with growing pauses.
        give_up: the run stops after so many failed replies in a row (0: never).
        concurrency: requests at a time, in `evaluate` too.
        image_format: "jpeg", or "png" (lossless, larger).
        video: how a clip of several frames is sent. "frames", one picture per frame, works with every server, but
            costs twice the tokens of "video_url" with Qwen2.5-VL: one video of JPEG frames, as vLLM reads it.
        extra: further fields of the request, such as {"mm_processor_kwargs": {...}}. They override those of revseg,
            and null removes one.

    Replies are text without tokens: such a policy can be evaluated, not trained. InputError if the server cannot be
    reached or refuses the request; PartError if it fails, is too slow or returns something else than a chat completion;
    RunStopped after `give_up` of these in a row. No error and no record contains the key or the password.
    """

    secrets = ("api_key", "base_url")  # left out of records: see `revseg.redaction`

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        api_key_env: str = "OPENAI_API_KEY",
        timeout: float = 120.0,
        deadline: float = 600.0,
        max_bytes: int = 8 * 2**20,
        retries: int = 3,
        give_up: int = 5,
        concurrency: int = 8,
        image_format: str = "jpeg",
        video: str = "frames",
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self.model, self.timeout, self.deadline, self.max_bytes = model, timeout, deadline, max_bytes
        self.retries, self.give_up, self.concurrency = retries, give_up, concurrency
        self.image_format, self.video, self.extra = image_format, video, {} if extra is None else extra
        self._check()
        self._access = Access.of(base_url, api_key, api_key_env)
        self._failed = 0  # replies in a row

    def __repr__(self) -> str:
        return f"OpenAIPolicy({self.model!r}, base_url={self.base_url!r})"

    @property
    def base_url(self) -> str:
        """Where requests are sent, without user name and password."""
        return self._access.url

    def reply(self, rollouts: Sequence[Rollout], prompts: Sequence[Message], *, sampling: Sampling) -> list[Reply]:
        """One reply per conversation, in order. The first failure cancels the batch, queued requests included."""
        seeds = [seed >> 32 for seed in row_seeds(rollouts, prompts, sampling)]  # 31 bits fit any server's integer
        with self._failures_counted():
            return _run(self._ask_all(list(zip(rollouts, prompts, seeds, strict=True)), sampling))

    @contextlib.asynccontextmanager
    async def connected(self, *, sampling: Sampling) -> AsyncIterator[ReplyOne]:
        """One client for many replies, each equal to that of `reply` for one conversation.

        The caller decides how many are awaited at a time; `concurrency` limits `reply` only.
        """
        encode = MessageEncoder(self.image_format, self.video)
        async with self._client() as client:

            async def reply_one(rollout: Rollout, prompt: Message) -> Reply:
                (seed,) = row_seeds([rollout], [prompt], sampling)
                with self._failures_counted():
                    return await self._ask(client, rollout, prompt, sampling, seed >> 32, encode)

            async def prepare(rollout: Rollout, prompt: Message) -> None:
                await asyncio.to_thread(encode, rollout, prompt)

            yield _Connection(reply_one, prepare)

    @contextlib.contextmanager
    def _failures_counted(self) -> Iterator[None]:
        """Counts failures in a row, and raises RunStopped at the one that is too many."""
        try:
            yield
        except RevsegError as error:
            self._failed += 1
            if not self.give_up or self._failed < self.give_up:
                raise
            raise RunStopped(
                f"{self._failed} requests in a row failed, the last with: {error}. The run stops here and its rows are "
                "kept: repair the server, then run the same again with retry (--retry), or raise give_up="
            ) from None
        self._failed = 0

    def _client(self) -> Any:
        import openai

        access = self._access
        return openai.AsyncOpenAI(
            base_url=access.url,
            api_key=access.key,
            timeout=self.timeout,
            max_retries=self.retries,
            http_client=bounded_client(self.max_bytes, self.timeout, access.login),
        )

    async def _ask_all(self, asked: list[tuple[Rollout, Message, int]], sampling: Sampling) -> list[Reply]:
        encode = MessageEncoder(self.image_format, self.video)
        room = asyncio.Semaphore(self.concurrency)

        async def ask(rollout: Rollout, prompt: Message, seed: int) -> Reply:
            async with room:
                return await self._ask(client, rollout, prompt, sampling, seed, encode)

        async with self._client() as client:
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(ask(*one)) for one in asked]
            except BaseExceptionGroup as failures:
                raise failures.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _ask(
        self, client: Any, rollout: Rollout, prompt: Message, sampling: Sampling, seed: int, encode: MessageEncoder
    ) -> Reply:
        messages = await asyncio.to_thread(encode, rollout, prompt)
        return await self._complete(client, messages, sampling, seed)

    async def _complete(self, client: Any, messages: list[dict[str, Any]], sampling: Sampling, seed: int) -> Reply:
        """One request, with its retries."""
        import openai

        fields: dict[str, Any] = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.limit,
            "seed": seed,
        }
        if sampling.top_k:
            fields["top_k"] = sampling.top_k  # no field of OpenAI's; vLLM and SGLang read it
        fields = {key: value for key, value in {**fields, **self.extra}.items() if value is not None}
        fields = {"messages": messages, **fields}  # not as messages=, all of which the client would walk through
        create = client.chat.completions.with_raw_response.create
        try:
            async with asyncio.timeout(self.deadline):
                completion = await create(model=self.model, messages=[], extra_body=fields)
            return self._access.without_key(read_reply(completion.http_response.content))
        except TimeoutError:
            hint = "Raise deadline=, or lower concurrency= or max_new_tokens"
            raise PartError(f"{self._where}: no whole reply within {self.deadline:g} s. {hint}") from None
        except Unreadable as body:
            raise PartError(f"{self._where}: {not_a_completion(self._access.hidden(str(body)))}") from None
        except PartError as error:
            raise PartError(f"{self._where}: {error}") from None
        except (openai.OpenAIError, ValueError) as error:  # `from None`: a server may echo the key
            tries = f"{self.retries + 1} tries of {self.timeout:g} s"
            raise failure_of(error, self._where, tries, self._access.hidden) from None

    @property
    def _where(self) -> str:
        return f"model {self.model!r} at {self.base_url}"

    def _check(self) -> None:
        if self.image_format not in ("jpeg", "png"):
            raise InputError(f"image_format={self.image_format!r}: expected jpeg or png")
        if self.video not in ("frames", "video_url"):
            raise InputError(f"video={self.video!r}: expected frames or video_url")
        if self.video == "video_url" and self.image_format != "jpeg":
            raise InputError("video=video_url sends JPEG frames: leave image_format=jpeg, or use video=frames")
        _least("seconds", {"timeout": self.timeout, "deadline": self.deadline})
        _least(0, {"retries": self.retries, "give_up": self.give_up})
        _least(1, {"concurrency": self.concurrency, "max_bytes": self.max_bytes})
        if not isinstance(self.extra, Mapping) or {"messages", "stream"} & set(self.extra):
            raise InputError("extra=: expected a dict of request fields, without messages and stream")


@dataclass(frozen=True)
class _Connection:
    """A `ReplyOne` over an open client; `prepare` encodes the pictures of its request beforehand."""

    reply_one: ReplyOne
    prepare: Callable[[Rollout, Message], Awaitable[None]]

    async def __call__(self, rollout: Rollout, prompt: Message) -> Reply:
        return await self.reply_one(rollout, prompt)


def _least(smallest: int | str, values: Mapping[str, Any]) -> None:
    """InputError for a value that is no whole number of at least `smallest`, or no number of "seconds" above 0."""
    for name, value in values.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if smallest == "seconds" and not (number and value > 0):
            raise InputError(f"expected {name} above 0, in seconds; got {value!r}")
        if isinstance(smallest, int) and not (number and isinstance(value, int) and value >= smallest):
            raise InputError(f"expected {name} of {smallest} or more, a whole number; got {value!r}")


def _run(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, for a synchronous caller."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:  # a loop is already running here, as in a notebook
        return pool.submit(asyncio.run, work).result()
