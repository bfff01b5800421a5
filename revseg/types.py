"""Every type that crosses a module, with shapes: the page to read first.

Conventions, everywhere in the library:

- boxes are **xyxy divided by width and height**, half-open: `0 <= x1 < x2 <= 1`, `float32[k 4]`;
- frame numbers are 0-based; a *frame id* counts the frames of the source, and nothing outside a parser counts
  anything else (a reply counts the pictures that it was shown; its parser converts);
- frames are RGB `uint8[t h w 3]`, masks are `bool[t h w]`, sizes are `(height, width)`;
- axes: `t` frames, `o` objects, `k` boxes, `m` points, `n` tokens.

Only a parser (text to unit box, by the size of the picture shown in that round) and a tracker (unit box to pixels of
the source) know a size in pixels.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from revseg.errors import InputError
from revseg.masks import MaskTrack
from revseg.untrusted.reading import well_formed
from revseg.video import Video

if TYPE_CHECKING:
    import torch

MAX_NEW_TOKENS = 512  # of one reply, where neither the user nor the policy says

Frames = UInt8[np.ndarray, "t h w 3"]
FrameIds = Int64[np.ndarray, " t"]
ROLES = ("target", "context")
MAX_OBJECT_ID = 10**9  # what records hold

Boxes = Float32[np.ndarray, "k 4"]
Points = Float32[np.ndarray, "m 2"]
PointLabels = Bool[np.ndarray, " m"]


def no_boxes() -> np.ndarray:
    """float32[0 4]: the boxes of a target that has none yet."""
    return np.zeros((0, 4), np.float32)


@dataclass(frozen=True, eq=False)
class Clip:
    """Some frames of a video, as a sampler gives them. A picture is a clip of one frame."""

    frames: Frames
    frame_ids: FrameIds  # frame_ids[i] is the index of frames[i] in the source

    def __len__(self) -> int:
        return len(self.frames)

    def __repr__(self) -> str:
        t, h, w, _ = self.frames.shape
        return f"Clip({t} frames of {w}x{h}, ids {_short(self.frame_ids)})"

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.frames.shape[1], self.frames.shape[2]

    def pick(self, index: int) -> "Clip":
        """The frame at `index` of this clip as a picture."""
        return Clip(self.frames[index : index + 1], self.frame_ids[index : index + 1])


@dataclass(frozen=True)
class Query:
    """What is asked; nothing else. A text that is no Unicode is made so: `well_formed`."""

    id: str
    text: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", well_formed(self.text))


@dataclass(frozen=True, eq=False)
class Message:
    """One message of a conversation: text and pictures or clips, at the size in pixels that the policy sees.

    `asks` says what the reply should give: "keyframe" (with a description), "box" or "verdict". Policies that do not
    read the text, such as `oracle`, go by it; empty means a keyframe in the first round and boxes in later ones.
    `about` are the numbers of the objects (in order of their naming, from 0) that it asks for, None for all.
    """

    role: str
    parts: tuple[str | Clip, ...]
    asks: tuple[str, ...] = ()
    about: tuple[int, ...] | None = None

    @property
    def text(self) -> str:
        return "".join(part for part in self.parts if isinstance(part, str))

    @property
    def clips(self) -> tuple[Clip, ...]:
        return tuple(part for part in self.parts if isinstance(part, Clip))


@dataclass(frozen=True, eq=False)
class Target:
    """What an answer says of one target. Each round fills what it was asked for."""

    frame_id: int | None = None  # the keyframe, a frame of the source
    description: str = ""
    boxes: Boxes = field(default_factory=no_boxes)
    points: Points = field(default_factory=lambda: np.zeros((0, 2), np.float32))  # xy, unit
    point_labels: PointLabels = field(default_factory=lambda: np.zeros(0, bool))  # True: on the target
    object_id: int | None = None  # the reply's own number for the object; None where it gave none
    role: str = "target"  # or "context": another object that the answer speaks of, which is not part of the masks


@dataclass(frozen=True, eq=False)
class Answer:
    """One reply, parsed."""

    targets: tuple[Target, ...] = ()
    error: str | None = None  # the kind of failure, a short stable word such as "no_json"; None when parsed
    form: float = 1.0  # share of the format rules met, in [0, 1]
    detail: str = ""  # what was expected and what came, for people
    windows: tuple[tuple[int, int], ...] = ()  # source frames [first, end) that the reply asks to see more closely
    verdict: bool | None = None  # of a round that checks an earlier answer: is it right? None: nothing was checked

    @property
    def absent(self) -> bool:
        """True when this one reply says that what it asks for is not in the video; of a conversation: `status`."""
        return self.error is None and not self.targets and not self.windows and self.verdict is None


@dataclass(frozen=True)
class Sampling:
    """How a policy draws tokens. Temperature 0 is greedy, the default at test time."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0  # 0: all
    max_new_tokens: int | None = None  # of one reply; None: what the policy was taught (`ReVSeg.resolved`), else 512
    seed: int = 0

    @property
    def limit(self) -> int:
        """The most tokens of one reply."""
        return MAX_NEW_TOKENS if self.max_new_tokens is None else self.max_new_tokens


@dataclass(frozen=True, eq=False)
class Reply:
    """What a policy answers: text, and for policies that can be trained the sampled tokens and their log-probs.

    The text is as it came, perhaps with half a surrogate pair; what writes it makes it Unicode.
    """

    text: str
    token_ids: Int64[np.ndarray, " n"] = field(default_factory=lambda: np.zeros(0, np.int64))
    logprobs: Float32[np.ndarray, " n"] = field(default_factory=lambda: np.zeros(0, np.float32))
    finish_reason: str = ""  # as OpenAI's API has it: "stop", "length" (cut off at the token limit); "" unknown
    opened: str = ""  # what the chat template wrote of this reply before its first token, such as "<think>"

    @property
    def whole(self) -> str:
        """The reply as a parser reads it: what the template opened, then the text."""
        return self.opened + self.text

    @property
    def cut_off(self) -> bool:
        """True when it ended at the token limit instead of by itself."""
        return self.finish_reason == "length"


@dataclass(frozen=True, eq=False)
class Turn:
    """One round that took place.

    `shown` are the pictures that the reply speaks of; `then` is how many rounds still had to follow a good reply.
    """

    prompt: Message
    reply: Reply
    answer: Answer
    shown: Clip
    round: str = ""
    then: int = 0

    @property
    def denies(self) -> bool:
        """True when the reply says that nothing of what the question means is in the video."""
        return self.answer.absent and self.prompt.about is None


@dataclass(frozen=True, eq=False)
class Grounding:
    """A target placed in the source: what a tracker starts from. Coordinates are unit, whatever the frame's size.

    A box, a point or a description suffices; a tracker that cannot start from what there is says so.
    """

    frame_id: int  # the keyframe, a frame of the source
    boxes: Boxes = field(default_factory=no_boxes)
    points: Points = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    point_labels: PointLabels = field(default_factory=lambda: np.zeros(0, bool))
    description: str = ""
    object_id: int = 0  # groundings of one object share it: they correct one another on several frames
    role: str = "target"  # of its `Target`


@dataclass(frozen=True, eq=False)
class Rollout:
    """A conversation so far: the state that plans and prompts read, and the record that rewards judge.

    `clip` is the first look, frames drawn from `video` (which is read lazily, and is None where only the clip is
    known). `about` are the numbers of the targets that the next question is about, None for all. `failure` names what
    ended the conversation when it was no reply, such as "too_many_rounds".
    """

    clip: Clip
    query: Query
    turns: tuple[Turn, ...] = ()
    video: Video | None = None
    about: tuple[int, ...] | None = None
    failure: str | None = None

    @property
    def status(self) -> str:
        """ "open" while a round is still due, "failed" (see `error`), "absent" (it is not in the video), or "found"."""
        if self.error is not None:
            return "failed"
        return "open" if self._open else "found" if self.targets else "absent"

    @property
    def error(self) -> str | None:
        """The failure that ended it, as "round 1: no_json", or what else did; None when all went well.

        A reply that could not be read is forgiven when the plan asks again. "round 2: no_keyframe" also stands for
        targets none of which a tracker could start from.
        """
        if self.turns and self.turns[-1].answer.error is not None:
            return f"round {len(self.turns)}: {self.turns[-1].answer.error}"
        if self.failure is None and not self._open and self.targets and not _placed(self.targets):
            return f"round {len(self.turns)}: no_keyframe"
        return self.failure

    @property
    def detail(self) -> str:
        """What was expected and what came in the reply that ended it in failure, for people; "" when none did."""
        return self.turns[-1].answer.detail if self.turns and self.turns[-1].answer.error is not None else ""

    @property
    def due(self) -> int:
        """Rounds held, and those that had to follow the last one: what a share of rounds is taken of."""
        if not self.turns or self.turns[-1].denies:
            return max(1, len(self.turns))
        return len(self.turns) + self.turns[-1].then

    @property
    def form(self) -> float:
        """Mean share of the format rules met over the rounds that were due, in [0, 1]."""
        return sum(turn.answer.form for turn in self.turns) / self.due

    @property
    def chosen(self) -> tuple[Target, ...]:
        """The targets as the latest round that named keyframes named them, whatever came of them later."""
        named = (turn.answer.targets for turn in reversed(self.turns) if turn.answer.error is None)
        found = next((ts for ts in named if any(t.frame_id is not None for t in ts)), ())
        return tuple(target for target in found if target.role == "target")

    @property
    def targets(self) -> tuple[Target, ...]:
        """What the rounds that could be read say together: later ones fill in the targets of earlier ones.

        A round that names keyframes starts anew. One that says "not in the video" takes away what it asked about.
        """
        return tuple(target for target in self.named if target.role == "target")

    @property
    def named(self) -> tuple[Target, ...]:
        """The targets, and the objects named as their context."""
        return tuple(target for target in self._known() if target is not None)

    @property
    def asked(self) -> tuple[Target, ...]:
        """What the next question is about, of what is `named`."""
        if self.about is None:
            return self.named
        known = self._known()
        return tuple(target for i in self.about if (target := known[i]) is not None)

    @property
    def groundings(self) -> tuple[Grounding, ...]:
        """The targets with a keyframe and a place on it; empty unless the conversation ended well.

        Where no target has a box or a point, their descriptions are what a tracker starts from. Targets described in
        the same words on different keyframes, without numbers of their own, are one object (they share `object_id`).
        Equal boxes on one keyframe are one instance, whatever they are called: the first one stands for all.
        """
        return tuple(grounding for grounding in self._groundings if grounding.role == "target")

    @property
    def context(self) -> tuple[Grounding, ...]:
        """The objects named as context that have a keyframe and a place on it, numbered apart from the targets."""
        return tuple(grounding for grounding in self._groundings if grounding.role == "context")

    @property
    def _groundings(self) -> tuple[Grounding, ...]:
        if self.status != "found":
            return ()
        by_role = ([target for target in self.named if target.role == role] for role in ROLES)
        placed = [target for targets in by_role for target in _without_equals(_placed(targets))]
        found: list[Grounding] = []
        for target, object_id in zip(placed, _object_ids(placed), strict=True):
            assert target.frame_id is not None
            where = (target.boxes, target.points, target.point_labels)
            found.append(Grounding(target.frame_id, *where, target.description, object_id, target.role))
        return tuple(found)

    @property
    def frame_ids(self) -> FrameIds:
        """Frames of the source shown in the conversation, sorted; what "the best frame" is the best of."""
        shown = [self.clip.frame_ids, *(clip.frame_ids for turn in self.turns for clip in turn.prompt.clips)]
        return np.unique(np.concatenate(shown))

    def picture(self, frame_id: int) -> Clip:
        """A frame of the source as a picture at its full size: from the clip, else read from the video."""
        place = np.flatnonzero(self.clip.frame_ids == frame_id)
        if len(place):
            return self.clip.pick(int(place[0]))
        if self.video is None:
            raise InputError(f"frame {frame_id} is not in the clip, and this conversation has no video to read it from")
        return Clip(self.video.read([frame_id]), np.array([frame_id], np.int64))

    @property
    def _open(self) -> bool:
        """True while a round is due: none was held, or the last one has to be followed and did not say "absent"."""
        return not self.turns or (self.turns[-1].then > 0 and not self.turns[-1].denies)

    def _known(self) -> list[Target | None]:
        """The targets by number; None for one that a later round found not to be in the video."""
        known: list[Target | None] = []
        for turn in self.turns:
            answer = turn.answer
            if answer.error is not None:
                continue
            if not known or any(target.frame_id is not None for target in answer.targets):
                known = list(answer.targets)
            elif answer.absent or answer.targets:
                asked = turn.prompt.about or range(len(known))
                asked = [i for i in asked if i < len(known) and known[i] is not None]
                filled = merge_targets([t for i in asked if (t := known[i]) is not None], answer.targets)
                for place, i in enumerate(asked):
                    known[i] = None if answer.absent else filled[place]
        return known


def _placed(targets: Sequence[Target]) -> list[Target]:
    """Those that a tracker can start from: with boxes or points where any target has them, else by description."""
    named = [target for target in targets if target.frame_id is not None]
    places = [target for target in named if len(target.boxes) or len(target.points)]
    return places or [target for target in named if target.description]


def _without_equals(targets: Sequence[Target]) -> list[Target]:
    """Each box of a keyframe once, with the first target that gave it; compared to six decimals."""
    met: dict[int | None, set[bytes]] = {}
    kept = []
    for target in targets:
        seen, fresh = met.setdefault(target.frame_id, set()), []
        for index, box in enumerate(np.round(target.boxes.astype(np.float64), 6) + 0.0):  # + 0.0: no negative zero
            if box.tobytes() not in seen:
                seen.add(box.tobytes())
                fresh.append(index)
        if fresh or not len(target.boxes):
            kept.append(target if len(fresh) == len(target.boxes) else replace(target, boxes=target.boxes[fresh]))
    return kept


def merge_targets(known: Sequence[Target], new: Sequence[Target]) -> list[Target]:
    """Targets of an earlier round with what a later round adds: by the numbers that both give, else in order.

    One known target takes the boxes of all new ones ("the two dogs"). Of several known targets each takes its own,
    the last also what is left over; a known target without a new one keeps no box and is not grounded.
    """
    numbers = {target.object_id for target in known} - {None}
    if len(known) > 1 and new and all(target.object_id in numbers for target in new):
        mine = [[t for t in new if t.object_id == target.object_id] for target in known]
    else:
        mine = [list(new[index : index + 1]) for index in range(len(known))]
        if known:
            mine[-1] = list(new[len(known) - 1 :])
    return [_filled(target, added) for target, added in zip(known, mine, strict=True)]


def _filled(target: Target, added: Sequence[Target]) -> Target:
    return replace(
        target,
        boxes=np.concatenate([target.boxes, *(t.boxes for t in added)]),
        points=np.concatenate([target.points, *(t.points for t in added)]),
        point_labels=np.concatenate([target.point_labels, *(t.point_labels for t in added)]),
    )


def _object_ids(targets: Sequence[Target]) -> list[int]:
    """A number for each object from 0: the reply's own numbers where every target has one, else by description."""
    if all(target.object_id is not None for target in targets):
        keys = [(target.object_id, target.role) for target in targets]
        order = list(dict.fromkeys(keys))
        return [order.index(key) for key in keys]
    ids: list[int] = []
    for target in targets:
        same = [
            i
            for i, other in zip(ids, targets, strict=False)
            if target.description
            and (other.description, other.role) == (target.description, target.role)
            and other.frame_id != target.frame_id
        ]
        ids.append(same[0] if same else len(set(ids)))
    return ids


@dataclass(frozen=True)
class RewardBreakdown:
    """One rollout's rewards, each in [0, 1], under the specs as written; `total` is their weighted sum (Eq. 8)."""

    values: Mapping[str, float]
    weights: Mapping[str, float]

    @property
    def total(self) -> float:
        return sum(self.weights[name] * value for name, value in self.values.items())


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What `ReVSeg.segment` gives: the conversation, the masks on every frame of the source, what they came from."""

    rollout: Rollout
    masks: MaskTrack  # of the targets
    rewards: RewardBreakdown | None = None  # None without a truth
    spec: Mapping[str, Any] = field(default_factory=dict)  # the model, as `ReVSeg.from_dict` reads it
    context: MaskTrack | None = None  # masks of `rollout.context`, in its order; None where there is none

    @property
    def status(self) -> str:
        """The conversation's: "found", "absent", or "failed" (see `rollout.error`)."""
        return self.rollout.status

    def save(
        self, folder: str | Path, video: Any, *, overwrite: bool = False, truth: MaskTrack | None = None, **options: Any
    ) -> Path:
        """Writes masks/, masks.json, overlay.mp4, reasoning.json and reasoning.html; whole or not at all.

        `video` is the source that was segmented; it is read again, a few frames at a time. Raises OutputError when the
        folder exists, unless `overwrite`. For `options` see `revseg.report.save`.
        """
        from revseg.report import save

        source = video if isinstance(video, Video) else Video.open(video)
        return save(self, folder, source, overwrite=overwrite, truth=truth, **options)


@dataclass(frozen=True, eq=False)
class Sample:
    """One item of a dataset."""

    video: Video
    query: Query
    truth: MaskTrack | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


ReplyOne = Callable[[Rollout, Message], Awaitable[Reply]]
"""The reply to one conversation and what is asked next, equal to that of `Policy.reply` for a batch of one."""


# The signatures of the swappable parts. Any callable that fits is a part; nothing has to be inherited.


@runtime_checkable
class Policy(Protocol):
    """Answers conversations in a batch; `rollouts[i]` is the conversation so far and `prompts[i]` what is asked next.

    Prompts that are the same object are shared work. Row i's draws depend on its own content and `sampling` alone,
    never on its neighbours; two rows with equal content differ by their position among equals.
    """

    def reply(self, rollouts: Sequence[Rollout], prompts: Sequence[Message], *, sampling: Sampling) -> list[Reply]: ...


@runtime_checkable
class ServedPolicy(Policy, Protocol):
    """A policy that another process answers for, such as `openai`: it takes several conversations at a time.

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
class TrainablePolicy(Policy, Protocol):
    """A policy whose tokens can be scored again with gradients. These members suffice to train.

    Its replies carry `token_ids` and `logprobs`. Its constructor has an option, `model` unless the class attribute
    `weights` (a tuple of options) names another first, that reads the folder which `save` wrote: so the trained policy
    gets its spec. What else it may have is `TrainedPolicy`; what it leaves out, `revseg.training.trainable` fills in.
    """

    @property
    def model(self) -> "torch.nn.Module": ...

    def logprobs(self, rollouts: Sequence[Rollout], *, temperature: float = 1.0) -> "list[torch.Tensor]":
        """Per rollout float[n]: log-probs of all its sampled tokens, every round, in order."""
        ...

    def save(self, folder: str) -> None:
        """Write the weights, and what is needed to build the policy again, into a folder that exists."""
        ...


@runtime_checkable
class TrainedPolicy(TrainablePolicy, Protocol):
    """Exactly what the trainer calls of a policy; all but what `TrainablePolicy` has may be left out of one."""

    batch_size: int  # conversations at a time; left out: a step's all

    @property
    def defaults(self) -> Mapping[str, Any]:
        """What it was taught, set before `save`; left out: it is not written down."""
        ...

    @defaults.setter
    def defaults(self, taught: Mapping[str, Any], /) -> None: ...

    @property
    def stops(self) -> Sequence[int] | None:
        """Tokens that end a reply; one that ends with another was cut off. Left out, None: `Reply.cut_off` says it."""
        ...

    def length(self, rollout: Rollout) -> int:
        """Tokens of the whole conversation, pictures included; left out: the sampled ones."""
        ...

    def forget(self) -> None:
        """Drop what is cached: the weights are about to change; left out: nothing is."""
        ...

    def add_lora(self, rank: int) -> None:
        """Put fresh adapters on; left out: an InputError when `lora_rank` is set."""
        ...

    @property
    def has_adapters(self) -> bool:
        """Whether adapters lie on its weights, which alone are trained then; left out: False."""
        ...

    def without_adapters(self) -> AbstractContextManager[Any]:
        """Its adapters switched off meanwhile, for a KL to what it was; left out: an InputError for such a KL."""
        ...

    def with_model(self, model: Any) -> Any:
        """Itself with other weights, for a KL to a copy; left out: an InputError when there is such a KL."""
        ...

    def freeze_vision(self) -> None:
        """Exclude its vision tower from training; left out: an InputError when `freeze_vision` is asked for."""
        ...

    def recompute_activations(self) -> None:
        """Compute activations again in backward passes instead of keeping them; left out: an InputError when
        `gradient_checkpointing` is asked for."""
        ...


@dataclass(frozen=True)
class WeightCounts:
    """Numbers of weights: all, those of the vision tower, and those of LoRA adapters of rank 1."""

    all: int
    vision: int
    per_rank: int


@runtime_checkable
class HasDefaults(Protocol):
    """A policy that was taught settings of a conversation: plan, sampler, num_frames, max_new_tokens."""

    @property
    def defaults(self) -> Mapping[str, Any]: ...


@runtime_checkable
class ReadsDefaults(Protocol):
    """A policy's class that reads the `defaults` of its objects without building one: no weights are loaded."""

    def defaults_of(self, options: Mapping[str, Any], /) -> Mapping[str, Any]:
        """Those of the policy with these options, as its constructor takes them."""
        ...


@runtime_checkable
class CountsWeights(Protocol):
    """A policy's class that counts a model's weights without loading them; training asks whether they will fit."""

    def count_weights(self, model: str | None, /) -> WeightCounts | None:
        """Of the model that its option for weights names; None where that is not known."""
        ...


@runtime_checkable
class NamesWeights(Protocol):
    """A policy's class that says which of its options name weights; without it that is `model` alone."""

    weights: tuple[str, ...]  # the first one reads the folder that `save` wrote


@runtime_checkable
class NeedsTruth(Protocol):
    """A policy or tracker that answers from the truth, such as `oracle`: bound to samples for one call."""

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

    `about` are the numbers of the objects (in order of their naming, from 0) that it asks for, None for all; `then` is
    how many rounds have to follow a good reply, by which a conversation that stops early is known.
    """

    name: str
    prompt: Prompt
    parser: Parser
    about: tuple[int, ...] | None = None
    then: int = 0


Plan = Callable[[Rollout], Round | None]
"""What is asked next, given the conversation so far; None when it is over. Pure: no model, no draw."""


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


# What a dataset may have beside its samples, for protocols that score by the whole video.


@runtime_checkable
class ListsSamples(Protocol):
    """A dataset that knows a sample by its files' lists alone, for one that cannot be read."""

    def listed(self, index: int, /) -> tuple[str, Query, Mapping[str, Any]]:
        """The video's id, the query and the meta."""
        ...


@runtime_checkable
class HasVoid(Protocol):
    """A dataset with pixels to ignore (Ref-DAVIS17, protocol A)."""

    def void(self, video: str, /) -> MaskTrack: ...


@runtime_checkable
class HasObjects(HasVoid, Protocol):
    """Beside the pixels to ignore, the masks of all objects that count, described or not."""

    def objects(self, video: str, /) -> MaskTrack: ...


@runtime_checkable
class HasForeground(Protocol):
    """A dataset with all annotated objects of a video as one (ReVOS, the official R); None where there are none."""

    def foreground(self, video: str, /) -> MaskTrack | None: ...


# What a dataset may have beside its samples for `revseg.datasets.check`.


@runtime_checkable
class HasSource(Protocol):
    """A dataset's class that knows where its files can be had."""

    source: str  # address, size and licence


@runtime_checkable
class HasVideoIds(Protocol):
    """A dataset that knows its videos without reading them."""

    def video_ids(self) -> Sequence[str]:
        """The id of each sample's video."""
        ...


@runtime_checkable
class HasExpectedCounts(Protocol):
    """A dataset whose official size is known."""

    def expected_counts(self) -> Mapping[str, int]:
        """The numbers of "videos" and "expressions", as far as they are known."""
        ...


@runtime_checkable
class HasExcluded(Protocol):
    """A dataset from which the user has excluded samples."""

    excluded: int  # how many


@runtime_checkable
class HasFaults(Protocol):
    """A dataset that knows its own faults."""

    def faults(self, sample: Sample, /) -> Sequence[str]:
        """What is known to be wrong in this benchmark and is wrong in this sample, in one sentence each."""
        ...


@runtime_checkable
class Objective(Protocol):
    """An RL objective: rewards to advantages, log-probs to a loss. These two methods suffice to train.

    A loss without a keyword-only option `count` is a mean over the replies of what it is given, and the trainer weighs
    it by their share of the batch. Advantages get `lengths` and `weights` where they have such keyword-only options.
    What else an objective may have is `TrainingObjective`; what it leaves out, `revseg.objectives.completed` fills in.
    """

    def advantages(self, rewards: "torch.Tensor", /) -> "torch.Tensor":
        """[groups, n] or, for objectives that weigh components, [groups, n, components] -> [groups, n]."""
        ...

    def loss(
        self,
        new: "torch.Tensor",
        old: "torch.Tensor",
        ref: "torch.Tensor | None",
        advantages: "torch.Tensor",
        mask: "torch.Tensor",
        /,
    ) -> "tuple[torch.Tensor, dict[str, float]]":
        """new, old, ref, mask [b, s], advantages [b] -> a scalar to minimise, and figures to log."""
        ...


@runtime_checkable
class TrainingObjective(Protocol):
    """Exactly what the trainer calls of an objective; all but `advantages` and `loss` may be left out of one."""

    @property
    def beta(self) -> float:
        """Weight of the KL to the reference policy; 0 (also when left out) keeps no reference."""
        ...

    @property
    def kl_in_reward(self) -> bool:
        """Whether `kl_penalty` is subtracted from the rewards; left out: no."""
        ...

    @property
    def weigh_components(self) -> bool:
        """Whether `advantages` wants [groups, n, components]; left out: no."""
        ...

    def advantages(
        self,
        rewards: "torch.Tensor",
        *,
        lengths: "torch.Tensor | None" = None,
        weights: "torch.Tensor | None" = None,
    ) -> "torch.Tensor":
        """`lengths` [groups, n] are generated tokens, `weights` [components] the rewards' weights."""
        ...

    def loss(
        self,
        new: "torch.Tensor",
        old: "torch.Tensor",
        ref: "torch.Tensor | None",
        advantages: "torch.Tensor",
        mask: "torch.Tensor",
        *,
        count: float | None = None,
    ) -> "tuple[torch.Tensor, dict[str, float]]":
        """`count` is `count(mask)` of the whole batch, by which the losses of micro-batches add up to the batch's."""
        ...

    def count(self, mask: "torch.Tensor") -> float:
        """What the loss divides by; left out: the replies that have a token in the mask."""
        ...

    def keep_groups(self, rewards: "torch.Tensor") -> "torch.Tensor":
        """bool[groups]: which to learn from; left out: all."""
        ...

    def mask_truncated(self, mask: "torch.Tensor", truncated: "torch.Tensor") -> "torch.Tensor":
        """The mask without the replies that bool[b] `truncated` marks; left out: the mask as it is."""
        ...

    def kl_penalty(self, old: "torch.Tensor", ref: "torch.Tensor", mask: "torch.Tensor") -> "torch.Tensor":
        """[b]: what is subtracted from the rewards with `kl_in_reward`; left out: there is none."""
        ...


def _short(ids: np.ndarray) -> str:
    shown = ", ".join(str(i) for i in ids[:4])
    return f"[{shown}{', ...' if len(ids) > 4 else ''}]"
