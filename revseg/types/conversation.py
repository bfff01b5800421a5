"""Messages and replies: clips, queries, answers, and the targets that they name."""

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8
from pydantic import Field

from revseg.errors import InputError
from revseg.settings import NotNegative, ZeroOrMore, settings
from revseg.untrusted.reading import well_formed

MAX_NEW_TOKENS = 512  # per reply, unless the user or the policy says otherwise
TokenLimit = Annotated[int, Field(ge=1, le=131_072)]  # no model writes more, and rows of random numbers are as long
Frames = UInt8[np.ndarray, "t h w 3"]
FrameIds = Int64[np.ndarray, " t"]
ROLES = ("target", "context")
COORDS = ("pixel", "per_mille", "unit")
MAX_SIDE = 8192  # pixels per side of a picture; no model reads larger ones, and a typing error would fill the memory
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


def _short(ids: np.ndarray) -> str:
    shown = ", ".join(str(i) for i in ids[:4])
    return f"[{shown}{', ...' if len(ids) > 4 else ''}]"


@dataclass(frozen=True)
class Geometry:
    """How a policy writes coordinates and which sizes of pictures it reads.

    `coords` is "pixel" (of the picture shown), "per_mille" (0 to 1000) or "unit" (0 to 1); the sides of pictures are
    multiples of `side` pixels.
    """

    coords: str = "pixel"
    side: int = 1

    def __post_init__(self) -> None:
        if self.coords not in COORDS:
            raise InputError(f"expected a policy's coords to be one of {', '.join(COORDS)}, got {self.coords!r:.80}")
        if not (type(self.side) is int and 1 <= self.side <= MAX_SIDE):
            raise InputError(f"expected sides of pictures of 1 to {MAX_SIDE} pixels, got {self.side!r:.80}")


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
    read the text, such as `oracle`, use this field; empty means a keyframe in the first round and boxes in later ones.
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
    """What an answer says of one target. Each round fills in the fields that it was asked for."""

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
        """True if this one reply says "not in the video"; for a whole conversation see `Rollout.status`."""
        return self.error is None and not self.targets and not self.windows and self.verdict is None


@settings("sampling")
class Sampling:
    """How a policy draws tokens. Temperature 0 is greedy, the default at test time. InputError for other values."""

    temperature: NotNegative = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: ZeroOrMore = 0  # 0: all
    max_new_tokens: TokenLimit | None = None  # per reply; None: what the policy was trained with, else 512
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
        """True if the reply says that the video shows nothing that the question means."""
        return self.answer.absent and self.prompt.about is None


@dataclass(frozen=True, eq=False)
class Grounding:
    """A target placed in the source video: what a tracker starts from. Coordinates are unit coordinates.

    A box, a point or a description suffices; a tracker that needs another of these raises an error.
    """

    frame_id: int  # the keyframe, a frame of the source
    boxes: Boxes = field(default_factory=no_boxes)
    points: Points = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    point_labels: PointLabels = field(default_factory=lambda: np.zeros(0, bool))
    description: str = ""
    object_id: int = 0  # groundings of one object share it: they correct one another on several frames
    role: str = "target"  # of its `Target`
