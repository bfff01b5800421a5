"""Tracker `fill_box`: the box itself as a mask, the same on every frame. A lower bound for real trackers."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float32, Int64

from revseg.masks import MaskTrack, encode
from revseg.masks.dense import to_pixels
from revseg.registry import register
from revseg.trackers.prompts import TrackObject, nearest, objects_to_track
from revseg.types import Grounding
from revseg.video import Video

PROMPTS = frozenset({"box"})


@register("tracker", "fill_box")
def fill_box(video: Video, groundings: Sequence[Grounding]) -> MaskTrack:
    """On every frame the boxes of the nearest prompted frame (the earlier of two as near), filled.

    Edges are rounded to whole pixels; a box covers at least one. No frame is read.
    """
    objects = objects_to_track(video, groundings, PROMPTS)
    ids = np.arange(len(video))
    if not objects:
        return MaskTrack.empty(video.size, ids, objects=0)
    rows = tuple(_row(item, ids, video.size) for item in objects)
    return MaskTrack(rows, video.size, ids, names=tuple(item.name for item in objects))


fill_box.prompts = PROMPTS  # pyright: ignore[reportFunctionMemberAccess]


def _row(item: TrackObject, ids: Int64[np.ndarray, " t"], size: tuple[int, int]) -> tuple[bytes, ...]:
    prompts = [prompt for instance in item.instances for prompt in instance]
    frames = sorted({prompt.frame_id for prompt in prompts})
    boxes = [[p.box for p in prompts if p.frame_id == frame and p.box is not None] for frame in frames]
    filled = [encode(_fill(np.stack(found), size)) for found in boxes]
    return tuple(filled[i] for i in nearest(ids, frames))


def _fill(boxes: Float32[np.ndarray, "k 4"], size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    mask = np.zeros(size, bool)
    height, width = size
    for x1, y1, x2, y2 in np.floor(to_pixels(boxes, size) + 0.5).astype(int).tolist():
        left, top = min(x1, width - 1), min(y1, height - 1)
        mask[top : max(y2, top + 1), left : max(x2, left + 1)] = True
    return mask
