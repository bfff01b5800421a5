"""Every type that crosses a module, with shapes: the page to read first.

Conventions, everywhere in the library:

- boxes are **xyxy divided by width and height**, half-open: `0 <= x1 < x2 <= 1`, `float32[k 4]`;
- frame numbers are 0-based. A *keyframe* counts the frames of the sampled `Clip`, a *frame id* those of the source;
- frames are RGB `uint8[t h w 3]`, masks are `bool[t h w]`, sizes are `(height, width)`;
- axes: `t` frames, `o` objects, `k` boxes, `m` points, `n` tokens.

Only a parser (text to unit box, by the size of the picture shown in that round) and a tracker (unit box to pixels of
the source) know a size in pixels.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from revseg.masks import MaskTrack
from revseg.reading import well_formed
from revseg.video import Video

if TYPE_CHECKING:
    import torch

MAX_NEW_TOKENS = 512  # of one reply, where neither the user nor the policy says

Frames = UInt8[np.ndarray, "t h w 3"]
FrameIds = Int64[np.ndarray, " t"]
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
    """One message of a conversation: text and pictures or clips, at the size in pixels that the policy sees."""

    role: str
    parts: tuple[str | Clip, ...]

    @property
    def text(self) -> str:
        return "".join(part for part in self.parts if isinstance(part, str))

    @property
    def clips(self) -> tuple[Clip, ...]:
        return tuple(part for part in self.parts if isinstance(part, Clip))


@dataclass(frozen=True, eq=False)
class Target:
    """What an answer says of one target. Each round fills what it was asked for."""

    keyframe: int | None = None  # index into the sampled clip
    description: str = ""
    boxes: Boxes = field(default_factory=no_boxes)
    points: Points = field(default_factory=lambda: np.zeros((0, 2), np.float32))  # xy, unit
    point_labels: PointLabels = field(default_factory=lambda: np.zeros(0, bool))  # True: on the target


@dataclass(frozen=True, eq=False)
class Answer:
    """One reply, parsed. No targets and no error means: the target is not in the video."""

    targets: tuple[Target, ...] = ()
    error: str | None = None  # the kind of failure, a short stable word such as "no_json"; None when parsed
    form: float = 1.0  # share of the format rules met, in [0, 1]
    detail: str = ""  # what was expected and what came, for people

    @property
    def absent(self) -> bool:
        """True when this one reply says that the target is not in the video; of a conversation: `Rollout.absent`."""
        return self.error is None and not self.targets


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
    """One round that took place. `token_ids` and `logprobs` are of the sampled tokens only."""

    prompt: Message
    reply: Reply
    answer: Answer


@dataclass(frozen=True, eq=False)
class Grounding:
    """A target placed in the source: what a tracker starts from. Coordinates are unit, whatever the frame's size."""

    keyframe: int  # index into the clip that the policy saw
    frame_id: int  # index into the source; another number than keyframe
    boxes: Boxes
    points: Points = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    point_labels: PointLabels = field(default_factory=lambda: np.zeros(0, bool))
    description: str = ""
    object_id: int = 0  # groundings of one object share it: they correct one another on several frames


@dataclass(frozen=True, eq=False)
class Rollout:
    """A conversation so far: the state that prompts read, and the record that rewards judge."""

    clip: Clip
    query: Query
    planned: int = 2  # how many rounds the plan has; an early stop leaves fewer turns
    turns: tuple[Turn, ...] = ()

    @property
    def error(self) -> str | None:
        """The first failure, as "round 1: no_json"; None when every reply so far parsed."""
        for number, turn in enumerate(self.turns, 1):
            if turn.answer.error is not None:
                return f"round {number}: {turn.answer.error}"
        return None

    @property
    def answer(self) -> Answer:
        """What the rounds say together: later rounds fill in the targets of earlier ones (`merge_targets`)."""
        targets: tuple[Target, ...] = ()
        for number, turn in enumerate(self.turns):
            if turn.answer.error is not None:
                return replace(turn.answer, targets=targets)
            targets = turn.answer.targets if number == 0 else merge_targets(targets, turn.answer.targets)
        return Answer(targets, form=self.form)

    @property
    def absent(self) -> bool:
        """True when the conversation ended, without any failure, in "the target is not in the video"."""
        return bool(self.turns) and self.error is None and self.turns[-1].answer.absent

    @property
    def status(self) -> str:
        """How it ended: "found", "absent", or the failure: `error`, "unfinished", "no box" (nothing to follow)."""
        if self.error is not None:
            return self.error
        if self.absent:
            return "absent"
        if self.groundings:
            return "found"
        return "no box" if self.done else "unfinished"

    @property
    def form(self) -> float:
        """Share of the format rules met, in [0, 1]: see `mean_form`."""
        return mean_form([turn.answer.form for turn in self.turns], self.planned, self.absent)

    @property
    def done(self) -> bool:
        """True when nothing more will be asked: all rounds held, a failure, or "not in the video"."""
        return len(self.turns) >= self.planned or self.error is not None or self.absent

    @property
    def groundings(self) -> tuple[Grounding, ...]:
        """The targets that have both a keyframe and a box; empty unless every planned round parsed.

        Targets described in the same words on different keyframes are one object (they share an `object_id`). Equal
        boxes on one keyframe are one instance, whatever they are called: the first one stands for all.
        """
        if self.error is not None or len(self.turns) < self.planned:
            return ()
        found: list[Grounding] = []
        met: dict[int, set[bytes]] = {}
        for target in self.answer.targets:
            boxes = target.boxes
            if target.keyframe is not None:
                boxes = _first_of_equals(boxes, met.setdefault(target.keyframe, set()))
            if target.keyframe is None or not len(boxes if len(target.boxes) else target.points):
                continue
            same = [
                g.object_id
                for g in found
                if target.description and g.description == target.description and g.keyframe != target.keyframe
            ]
            object_id = same[0] if same else len({g.object_id for g in found})
            frame_id = int(self.clip.frame_ids[target.keyframe])
            points = target.points, target.point_labels
            found.append(Grounding(target.keyframe, frame_id, boxes, *points, target.description, object_id))
        return tuple(found)


def mean_form(forms: Sequence[float], planned: int, absent: bool) -> float:
    """The mean form of the rounds that were due, in [0, 1].

    All planned rounds are due, so one that was not reached counts 0; after a well-formed "not in the video", which ends
    the conversation rightly, only those held.
    """
    due = len(forms) if absent else max(planned, len(forms))
    return min(1.0, sum(forms) / due) if due else 0.0


def _first_of_equals(boxes: np.ndarray, met: set[bytes]) -> np.ndarray:
    """The boxes that are not in `met`, each once; adds them to it. Equal: to the six decimals that records hold."""
    fresh = []
    for index, box in enumerate(np.round(boxes.astype(np.float64), 6) + 0.0):  # + 0.0: no negative zero
        if box.tobytes() not in met:
            met.add(box.tobytes())
            fresh.append(index)
    return boxes if len(fresh) == len(boxes) else boxes[fresh]


def merge_targets(known: tuple[Target, ...], new: tuple[Target, ...]) -> tuple[Target, ...]:
    """Targets of an earlier round with what a later round adds, paired in order.

    One known target takes the boxes of all new ones ("the two dogs"). Of several known targets each takes its own,
    the last also what is left over; a known target without a new one keeps no box and is not grounded.
    """
    if not known or not new:
        return known
    merged = []
    for index, target in enumerate(known):
        mine = new[index:] if index == len(known) - 1 else new[index : index + 1]
        merged.append(
            replace(
                target,
                boxes=np.concatenate([target.boxes, *(t.boxes for t in mine)]),
                points=np.concatenate([target.points, *(t.points for t in mine)]),
                point_labels=np.concatenate([target.point_labels, *(t.point_labels for t in mine)]),
            )
        )
    return tuple(merged)


@dataclass(frozen=True)
class RewardBreakdown:
    """One rollout's rewards, each in [0, 1], under the specs as written; `total` is their weighted sum (Eq. 8)."""

    values: Mapping[str, float]
    weights: Mapping[str, float]

    @property
    def total(self) -> float:
        return sum(self.weights[name] * value for name, value in self.values.items())


@dataclass(frozen=True, eq=False)
class Sample:
    """One item of a dataset."""

    video: Video
    query: Query
    truth: MaskTrack | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


# The signatures of the swappable parts. Any callable that fits is a part; nothing has to be inherited.


@runtime_checkable
class Policy(Protocol):
    """Answers conversations in a batch; `rollouts[i]` is the conversation so far and `prompts[i]` what is asked next.

    Prompts that are the same object are shared work. Row i's draws depend on its own content and `sampling` alone,
    never on its neighbours; two rows with equal content differ by their position among equals.
    """

    def reply(self, rollouts: Sequence[Rollout], prompts: Sequence[Message], *, sampling: Sampling) -> list[Reply]: ...


@runtime_checkable
class TrainablePolicy(Policy, Protocol):
    """A policy whose tokens can be scored again with gradients.

    To train adapters it also has `add_lora(rank)`; for a KL to a copy, `with_model(model)`, itself with other weights.
    """

    @property
    def model(self) -> "torch.nn.Module": ...
    @property
    def stops(self) -> Sequence[int]:
        """Tokens that end a reply; one that ends with another was cut off."""
        ...

    def logprobs(self, rollouts: Sequence[Rollout], *, temperature: float = 1.0) -> "list[torch.Tensor]":
        """Per rollout float[n]: log-probs of all its sampled tokens, every round, in order."""
        ...

    def length(self, rollout: Rollout) -> int:
        """Tokens of the whole conversation, pictures included."""
        ...

    def forget(self) -> None:
        """Drop what is cached: the weights are about to change."""
        ...

    def save(self, folder: str) -> None: ...


@runtime_checkable
class TruthfulPolicy(Protocol):
    """A policy that has to be told the truth first, such as `oracle`."""

    def tell(self, query: Query, truth: MaskTrack) -> None: ...


@runtime_checkable
class Prompt(Protocol):
    """What is asked next, given the conversation so far."""

    def __call__(self, rollout: Rollout, /) -> Message: ...


@runtime_checkable
class Parser(Protocol):
    """Reads a reply. Total: any string in, an Answer out, never an exception."""

    def __call__(self, text: str, shown: Clip, /) -> Answer: ...


@runtime_checkable
class Reward(Protocol):
    """Judges a rollout, in [0, 1]. `truth` is aligned: its index k is the clip's frame k."""

    def __call__(self, rollout: Rollout, truth: MaskTrack, /) -> float: ...


@runtime_checkable
class Tracker(Protocol):
    """From groundings to masks on every frame of the source, both ways from the keyframes, streaming."""

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


@runtime_checkable
class Objective(Protocol):
    """An RL objective: rewards to advantages, log-probs to a loss."""

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


def _short(ids: np.ndarray) -> str:
    shown = ", ".join(str(i) for i in ids[:4])
    return f"[{shown}{', ...' if len(ids) > 4 else ''}]"
