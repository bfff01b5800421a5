"""Groundings as a tracker's prompts: checked, and sorted by object, instance and frame."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64

from revseg.errors import InputError
from revseg.types import Grounding
from revseg.video import Video

KINDS = {"box": "a box", "point": "a point on the target", "text": "a description"}


@dataclass(frozen=True, eq=False)
class TrackPrompt:
    """What marks one instance on one frame of the source: a unit box, unit points, or both."""

    frame_id: int
    box: Float32[np.ndarray, "4"] | None
    points: Float32[np.ndarray, "m 2"]
    labels: Bool[np.ndarray, " m"]  # True: on the target


@dataclass(frozen=True, eq=False)
class TrackObject:
    """One object of the result. Its instances ("the two dogs") are tracked separately and united."""

    name: str
    instances: tuple[tuple[TrackPrompt, ...], ...]  # for each instance its prompts, by frame


def objects_to_track(video: Video, groundings: Sequence[Grounding], prompts: frozenset[str]) -> list[TrackObject]:
    """The groundings as objects, in the order in which their ids first appear.

    Box i is instance i on every frame. Where a frame has several boxes, a point on the target belongs to the box that
    contains it or is nearest to it, and points off the target belong to all; a frame with points only prompts the
    first instance.

    `prompts` says what the tracker can start from, of `KINDS`. InputError for a grounding without any of them, for a
    frame outside the video, and for boxes or points outside the picture.
    """
    groups: dict[int, list[Grounding]] = {}
    for grounding in groundings:
        _check(video, grounding, prompts)
        groups.setdefault(grounding.object_id, []).append(grounding)
    return [
        TrackObject(next((g.description for g in group if g.description), ""), _instances(group))
        for group in groups.values()
    ]


def nearest(frame_ids: Int64[np.ndarray, " t"], prompted: Sequence[int] | np.ndarray) -> Int64[np.ndarray, " t"]:
    """For every frame the position in `prompted` (sorted) of the nearest frame; of two as near, of the earlier."""
    frames = np.asarray(prompted, np.int64)
    return np.searchsorted((frames[:-1] + frames[1:]) // 2, frame_ids)


def _instances(group: Sequence[Grounding]) -> tuple[tuple[TrackPrompt, ...], ...]:
    instances: dict[int, list[TrackPrompt]] = {}
    for frame_id in sorted({g.frame_id for g in group}):
        here = [g for g in group if g.frame_id == frame_id]
        boxes = np.concatenate([g.boxes for g in here])
        points = np.concatenate([g.points for g in here])
        labels = np.concatenate([g.point_labels for g in here])
        owners = _nearest_box(boxes, points)
        for index in range(max(len(boxes), 1)):
            own = ~labels | (owners == index)
            box = boxes[index] if len(boxes) else None
            instances.setdefault(index, []).append(TrackPrompt(frame_id, box, points[own], labels[own]))
    return tuple(tuple(prompts) for prompts in instances.values())


def _nearest_box(boxes: Float32[np.ndarray, "k 4"], points: Float32[np.ndarray, "m 2"]) -> Int64[np.ndarray, " m"]:
    """The box that contains each point or is nearest to it; 0 when there is no box."""
    if not len(boxes):
        return np.zeros(len(points), np.int64)
    closest = np.clip(points[:, None], boxes[None, :, :2], boxes[None, :, 2:])
    return np.linalg.norm(points[:, None] - closest, axis=-1).argmin(1)


def _check(video: Video, grounding: Grounding, prompts: frozenset[str]) -> None:
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
    present = {
        "box": len(grounding.boxes) > 0,
        "point": bool(grounding.point_labels.any()),
        "text": bool(grounding.description.strip()),
    }
    if not any(present[kind] for kind in prompts):
        expected = " or ".join(text for kind, text in KINDS.items() if kind in prompts)
        came = " and ".join(KINDS[kind] for kind, there in present.items() if there)
        raise InputError(
            f"the tracker expected {expected} on frame {grounding.frame_id}, got {came or 'nothing'}: "
            f"let a round of the plan ask for it, or use a tracker that starts from {came or 'something else'}"
        )
