"""Protocols of the swappable parts. Any callable or object that fits is a part; nothing has to be inherited."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from revseg.masks import MaskTrack
from revseg.types.conversation import Answer, Clip, Geometry, Grounding, Message, Query, Reply, Sampling
from revseg.types.results import Sample
from revseg.types.rollout import Rollout
from revseg.video import Video

ReplyOne = Callable[[Rollout, Message], Awaitable[Reply]]
"""The reply to one conversation and its next message, equal to that of `Policy.reply` for a batch of one."""


@runtime_checkable
class Policy(Protocol):
    """Answers conversations in a batch; `rollouts[i]` is the conversation so far and `prompts[i]` what is asked next.

    Prompts that are the same object are shared work. Row i's draws depend on its own content and `sampling` alone,
    never on its neighbours; two rows with equal content differ by their position among equals.
    """

    def reply(self, rollouts: Sequence[Rollout], prompts: Sequence[Message], *, sampling: Sampling) -> list[Reply]: ...


@runtime_checkable
class ServedPolicy(Policy, Protocol):
    """A policy whose replies come from another process, such as `openai`, for several conversations at a time.

    `concurrency` is how many requests `evaluate` keeps open at a time, unless it is given another number.
    """

    concurrency: int

    def connected(self, *, sampling: Sampling) -> AbstractAsyncContextManager[ReplyOne]:
        """One connection for many replies, within one event loop: `async with` it, and await what it gives."""
        ...


@runtime_checkable
class PreparesRequests(Protocol):
    """What `ServedPolicy.connected` gives when a part of its work needs no server, such as encoding pictures.

    `evaluate` awaits `prepare` first and the reply itself only when fewer than `concurrency` requests are open.
    """

    async def prepare(self, rollout: Rollout, prompt: Message) -> None:
        """Do that part of the reply to `prompt`, and keep it for the call that follows."""
        ...


@runtime_checkable
class HasDefaults(Protocol):
    """A policy that was trained with settings of a conversation: plan, sampler, num_frames, max_new_tokens."""

    @property
    def defaults(self) -> Mapping[str, Any]: ...


@runtime_checkable
class ReadsDefaults(Protocol):
    """A policy's class that reads the `defaults` of its objects without building one: no weights are loaded."""

    def defaults_of(self, options: Mapping[str, Any], /) -> Mapping[str, Any]:
        """Those of the policy with these options, as its constructor takes them."""
        ...


@runtime_checkable
class ReadsGeometry(Protocol):
    """A policy's class that reads the `Geometry` of its objects without building one: no weights are loaded."""

    def geometry_of(self, options: Mapping[str, Any], /) -> Geometry:
        """That of the policy with these options, as its constructor takes them."""
        ...


@runtime_checkable
class NamesWeights(Protocol):
    """A policy's class that lists the options by which its weights are named; without it, `model` alone."""

    weights: tuple[str, ...]  # the first one reads the folder that `save` wrote


@runtime_checkable
class NeedsTruth(Protocol):
    """A policy or tracker that answers from the truth, such as `oracle`; it is bound to samples for one call."""

    def with_truth(self, samples: Sequence[Sample], /) -> Any:
        """The part that knows the truth of these samples; itself it keeps none."""
        ...


@runtime_checkable
class Prompt(Protocol):
    """What is asked next, given the conversation so far."""

    def __call__(self, rollout: Rollout, /) -> Message: ...


@runtime_checkable
class Parser(Protocol):
    """Reads a reply to `shown`, the pictures of its round. Total: any string in, an Answer out, never an exception."""

    def __call__(self, text: str, shown: Clip, /) -> Answer: ...


@dataclass(frozen=True)
class Round:
    """One question: what is asked, and how the reply is read.

    `about` are the numbers of the objects that it asks for (in the order in which they were named, from 0), None for
    all. `then` is the number of rounds that have to follow if the reply is good; a conversation that ends before is
    incomplete.
    """

    name: str
    prompt: Prompt
    parser: Parser
    about: tuple[int, ...] | None = None
    then: int = 0


Plan = Callable[[Rollout], Round | None]
"""The next round, given the conversation so far; None when it is over. A pure function: no model, no randomness."""


@runtime_checkable
class Reward(Protocol):
    """Judges a rollout, in [0, 1]. `truth` holds the frames that were shown, `rollout.frame_ids`, in order."""

    def __call__(self, rollout: Rollout, truth: MaskTrack, /) -> float: ...


@runtime_checkable
class Tracker(Protocol):
    """From groundings to masks on every frame of the source, forward and backward from the keyframes.

    The built-in trackers have a frozenset `prompts` that says what they can start from, "box", "point" or "text" (a
    description), and raise InputError for groundings without any of these. Those that load weights name the options
    that say where in `weights`.
    """

    def __call__(self, video: Video, groundings: Sequence[Grounding], /) -> MaskTrack: ...


@runtime_checkable
class Sampler(Protocol):
    """Chooses at most `n` frames of a video."""

    def __call__(self, video: Video, query: Query, n: int, /) -> Clip: ...


@runtime_checkable
class Dataset(Protocol):
    """A sequence of samples, read lazily."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Sample: ...
    def __iter__(self) -> Iterator[Sample]: ...
