"""What the SAM 2 adapters share: prompts per instance, two sweeps over the video, masks encoded as they come.

Memory does not grow with the video. Frames are read a few at a time, and of the model's own outputs only those are
kept that it can still look back on: a window behind the current frame and one beside the first prompt.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from revseg.errors import InputError
from revseg.masks import MaskTrack, encode
from revseg.types import Grounding
from revseg.video import Video

if TYPE_CHECKING:
    import torch

CHUNK_BYTES = 64 << 20  # decoded frames held at once


@dataclass(frozen=True, eq=False)
class TrackPrompt:
    """What marks one instance on one frame of the source: a unit box, unit points, or both."""

    frame_id: int
    box: Float32[np.ndarray, "4"] | None
    points: Float32[np.ndarray, "m 2"]
    labels: Bool[np.ndarray, " m"]  # True: on the target


@dataclass(frozen=True, eq=False)
class TrackObject:
    """One row of the result. Its instances ("the two dogs") are tracked apart and united."""

    name: str
    instances: tuple[tuple[TrackPrompt, ...], ...]  # per instance its prompts, by frame


@dataclass(frozen=True, eq=False)
class Output:
    """What a model says of one instance on one frame."""

    logits: "torch.Tensor"  # [h w] at the model's own resolution; positive: on the target
    presence: float  # probability that the target is in the picture, in [0, 1]


@runtime_checkable
class Instance(Protocol):
    """A video model's memory of one instance. `tracked` maps frames without a prompt to what is remembered of them."""

    tracked: dict[int, Any]

    def prompt(self, features: Any, prompt: TrackPrompt) -> Output: ...
    def track(self, features: Any, frame_id: int, reverse: bool) -> Output: ...


@runtime_checkable
class VideoModel(Protocol):
    """A promptable video model: features of a frame are computed once and shared by all instances."""

    window: int  # how many frames it looks back

    def encode(self, frame: UInt8[np.ndarray, "h w 3"]) -> Any: ...
    def start(self, video: Video) -> Instance: ...


def track(model: VideoModel, video: Video, groundings: Sequence[Grounding]) -> MaskTrack:
    """Masks on every frame of the source: each instance forward and backward from its first prompt.

    One row per distinct `object_id`; later prompts of an object correct it from there on, and earlier frames see them
    too. A score is the model's confidence in what the mask says, so a clear "not here" scores high; instances that
    are united have the least of their scores. No groundings give a track of no objects.
    """
    objects = plan(video, groundings)
    runs = [_Run(model.start(video), prompts, len(video)) for item in objects for prompts in item.instances]
    if not runs:
        return MaskTrack.empty(video.size, np.arange(len(video)), objects=0)
    for frame_id, frame in read(video, sorted({f for run in runs for f in run.prompts})):
        features = model.encode(frame)
        for run in runs:
            if frame_id in run.prompts:
                run.store(frame_id, run.instance.prompt(features, run.prompts[frame_id]), video.size)
    _sweep(model, video, runs, reverse=False)
    _sweep(model, video, runs, reverse=True)
    return _unite(video, objects, runs)


def plan(video: Video, groundings: Sequence[Grounding]) -> list[TrackObject]:
    """Groundings as objects, in the order in which their ids first appear.

    Box i is instance i on every frame. Of several boxes on a frame each takes the points on the target that lie in
    or nearest to it, and all points off the target; a frame with points alone prompts the first instance.
    InputError for a frame outside the video, an impossible box, and a prompt that points at nothing.
    """
    groups: dict[int, list[Grounding]] = {}
    for grounding in groundings:
        _check(video, grounding)
        groups.setdefault(grounding.object_id, []).append(grounding)
    return [
        TrackObject(next((g.description for g in group if g.description), ""), _instances(group))
        for group in groups.values()
    ]


def read(video: Video, frame_ids: Sequence[int]) -> Iterator[tuple[int, UInt8[np.ndarray, "h w 3"]]]:
    """(frame id, frame) in the order asked, decoding at most `CHUNK_BYTES` ahead.

    Backward runs are decoded forward chunk by chunk: a decoder that has to seek for every frame is very slow.
    """
    height, width = video.size
    chunk = max(1, min(32, CHUNK_BYTES // (height * width * 3)))
    for start in range(0, len(frame_ids), chunk):
        asked = frame_ids[start : start + chunk]
        frames = video.read(sorted(asked))
        where = {frame_id: i for i, frame_id in enumerate(sorted(asked))}
        yield from ((frame_id, frames[where[frame_id]]) for frame_id in asked)


class _Run:
    """One instance under way: its memory in the model and its masks so far."""

    def __init__(self, instance: Instance, prompts: Sequence[TrackPrompt], length: int) -> None:
        self.instance = instance
        self.prompts = {prompt.frame_id: prompt for prompt in prompts}
        self.first = min(self.prompts)
        self.counts = [b""] * length
        self.scores = np.zeros(length, np.float32)

    def store(self, frame_id: int, output: Output, size: tuple[int, int]) -> None:
        import torch.nn.functional as F

        logits = F.interpolate(output.logits[None, None].float(), size=size, mode="bilinear", align_corners=False)
        mask = (logits[0, 0] > 0).cpu().numpy()
        self.counts[frame_id] = encode(mask)
        self.scores[frame_id] = output.presence if mask.any() else 1 - output.presence

    def forget(self, frame_id: int, window: int) -> None:
        """Drops what the model cannot look back on any more. The first prompt's side is for the backward sweep."""
        tracked = self.instance.tracked
        for old in [f for f in tracked if abs(f - frame_id) > window and abs(f - self.first) > window]:
            del tracked[old]


def _sweep(model: VideoModel, video: Video, runs: Sequence[_Run], *, reverse: bool) -> None:
    starts = [run.first for run in runs]
    order = range(max(starts) - 1, -1, -1) if reverse else range(min(starts) + 1, len(video))
    for frame_id, frame in read(video, order):
        active = [run for run in runs if frame_id not in run.prompts and (frame_id < run.first) == reverse]
        features = model.encode(frame) if active else None
        for run in active:
            run.store(frame_id, run.instance.track(features, frame_id, reverse), video.size)
            run.forget(frame_id, model.window)


def _unite(video: Video, objects: Sequence[TrackObject], runs: Sequence[_Run]) -> MaskTrack:
    ids = np.arange(len(video))
    every = MaskTrack(tuple(tuple(r.counts) for r in runs), video.size, ids, np.stack([r.scores for r in runs]))
    rows, start = [], 0
    for item in objects:
        rows.append(every.select(range(start, start + len(item.instances))).union())
        start += len(item.instances)
    names = tuple(item.name for item in objects)
    return MaskTrack(
        tuple(row.counts[0] for row in rows), video.size, ids, np.concatenate([row.scores for row in rows]), names
    )


def _instances(group: Sequence[Grounding]) -> tuple[tuple[TrackPrompt, ...], ...]:
    instances: dict[int, list[TrackPrompt]] = {}
    for frame_id in sorted({g.frame_id for g in group}):
        here = [g for g in group if g.frame_id == frame_id]
        boxes = np.concatenate([g.boxes for g in here])
        points = np.concatenate([g.points for g in here])
        labels = np.concatenate([g.point_labels for g in here])
        owners = _nearest(boxes, points)
        for index in range(max(len(boxes), 1)):
            mine = ~labels | (owners == index)
            box = boxes[index] if len(boxes) else None
            instances.setdefault(index, []).append(TrackPrompt(frame_id, box, points[mine], labels[mine]))
    return tuple(tuple(prompts) for prompts in instances.values())


def _nearest(boxes: Float32[np.ndarray, "k 4"], points: Float32[np.ndarray, "m 2"]) -> np.ndarray:
    """int64[m]: the box in which each point lies or to which it is nearest; 0 when there is no box."""
    if not len(boxes):
        return np.zeros(len(points), np.int64)
    near = np.clip(points[:, None], boxes[None, :, :2], boxes[None, :, 2:])
    return np.linalg.norm(points[:, None] - near, axis=-1).argmin(1)


def _check(video: Video, grounding: Grounding) -> None:
    if not 0 <= grounding.frame_id < len(video):
        raise InputError(f"expected a frame of {video.id!r}, 0 to {len(video) - 1}, got frame_id {grounding.frame_id}")
    x1, y1, x2, y2 = grounding.boxes.T
    if not np.all((x1 >= 0) & (y1 >= 0) & (x1 < x2) & (y1 < y2) & (x2 <= 1) & (y2 <= 1)):
        raise InputError(
            f"expected unit boxes 0 <= x1 < x2 <= 1, 0 <= y1 < y2 <= 1, got {grounding.boxes.tolist()}; "
            "divide pixels by the frame's width and height"
        )
    if len(grounding.points) and not np.all((grounding.points >= 0) & (grounding.points <= 1)):
        raise InputError(f"expected unit points in [0, 1], got {grounding.points.tolist()}")
    if not len(grounding.boxes) and not grounding.point_labels.any():
        raise InputError(
            "expected a box or a point on the target, got neither: let a round ask for the box, or take a tracker that "
            "starts from a description"
        )
