"""The content of records, results files and training logs as types, for `reading.checked`."""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict  # pydantic supports typing's own from Python 3.12 only

from revseg.failures import Kind
from revseg.masks.rle import MAX_FRAMES, checked_size
from revseg.untrusted.reading import shallow

Number = Annotated[float, Field(ge=-1e15, le=1e15, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Whole = Annotated[int, Field(ge=-(10**9), le=10**9)]
Count = Annotated[int, Field(ge=0, le=10**9)]
FrameId = Annotated[int, Field(ge=0, lt=MAX_FRAMES)]
Size = Annotated[list[int], AfterValidator(lambda size: list(checked_size(size)))]
Box = Annotated[list[Number], Field(min_length=4, max_length=4)]
Point = Annotated[list[Number], Field(min_length=2, max_length=2)]
Window = Annotated[list[FrameId], Field(min_length=2, max_length=2)]
Plain = Annotated[Any, AfterValidator(shallow)]
Table = Annotated[dict[str, Any], AfterValidator(shallow)]


class VideoFields(TypedDict):
    id: str
    size: Size
    fps: Annotated[float, Field(ge=0, le=1e9)]
    frames: FrameId


class QueryFields(TypedDict):
    id: str
    text: NotRequired[str]


class ListedFields(TypedDict):
    video: str
    query: QueryFields


class TargetFields(TypedDict):
    frame_id: FrameId | None
    object_id: NotRequired[Whole | None]
    role: NotRequired[Literal["target", "context"]]
    description: str
    boxes: list[Box]
    points: list[Point]
    point_labels: NotRequired[list[bool]]


class AnswerFields(TypedDict):
    targets: list[TargetFields]
    error: str | None
    detail: str
    form: Share
    windows: NotRequired[list[Window]]
    verdict: NotRequired[bool | None]


class ShownFields(TypedDict):
    frame_ids: list[FrameId]
    size: Size


class TurnFields(TypedDict):
    round: NotRequired[str]
    role: NotRequired[str]
    prompt: str
    asks: NotRequired[list[str]]
    about: NotRequired[list[Count] | None]
    shown: list[ShownFields]
    reply: str
    opened: NotRequired[str]
    tokens: NotRequired[Count]
    finish_reason: NotRequired[str]
    then: NotRequired[Count]
    answer: AnswerFields


class GroundingFields(TypedDict):
    frame_id: FrameId
    object_id: Whole
    description: str
    boxes: list[Box]
    points: list[Point]
    point_labels: list[bool]


class RewardFields(TypedDict):
    values: dict[str, Number]
    weights: dict[str, Number]
    total: Number


class ConversationFields(TypedDict):
    """What `revseg.serialise.rollout_from` needs to read a conversation back."""

    query: QueryFields
    video: NotRequired[VideoFields | None]
    error: NotRequired[str | None]
    ended: NotRequired[str | None]
    frame_ids: Annotated[list[FrameId], Field(min_length=1)]
    frame_size: NotRequired[Size | None]
    rounds: list[TurnFields]
    due_rounds: NotRequired[Count | None]


class SegmentationFields(TypedDict):
    """What `revseg.serialise.segmentation_from` reads in addition."""

    rewards: NotRequired[RewardFields | None]
    spec: NotRequired[Table]


class RowFields(TypedDict):
    """One line of a results file. `MaskTrack.from_dict` checks "masks" and "truth" when they are read."""

    index: Count
    failure: NotRequired[str | None]
    detail: NotRequired[str]
    video: NotRequired[VideoFields | None]
    query: NotRequired[QueryFields | None]
    listed: NotRequired[ListedFields | None]
    status: NotRequired[str | None]
    ended: NotRequired[str | None]
    frame_ids: NotRequired[list[FrameId] | None]
    frame_size: NotRequired[Size | None]
    rounds: NotRequired[list[TurnFields] | None]
    due_rounds: NotRequired[Count | None]
    form: NotRequired[Share | None]
    error: NotRequired[str | None]
    groundings: NotRequired[list[GroundingFields] | None]
    context: NotRequired[list[GroundingFields]]
    objects: NotRequired[Count | None]
    visible_frames: NotRequired[Count | None]
    rewards: NotRequired[RewardFields | None]
    meta: NotRequired[Table | None]
    timings: NotRequired[dict[str, Number] | None]


class HeaderFields(TypedDict):
    """The first line of a results file."""

    format: Literal["revseg-results"]
    version: Literal[2]
    samples: Count
    dataset: NotRequired[Plain]
    dataset_length: NotRequired[Count]
    spec: NotRequired[Plain]
    files: NotRequired[dict[str, str]]
    versions: NotRequired[dict[str, str]]


class WarningFields(TypedDict):
    """A warning in a row of a training run's log.jsonl: `revseg.failures.Signature`."""

    kind: Kind
    evidence: dict[str, Number | str | None]
    rows: list[Count]
    advice: str


class LogFields(TypedDict):
    """One line of a training run's log.jsonl; all other columns are numbers. Earlier versions wrote sentences."""

    step: Count
    warnings: NotRequired[list[WarningFields | str]]


class SampleFields(TypedDict):
    """One line of a training run's samples.jsonl."""

    step: Count
    query: NotRequired[str]
    replies: NotRequired[list[str]]
    error: NotRequired[str | None]
    rewards: NotRequired[dict[str, Number] | None]
    total: NotRequired[Number | None]
