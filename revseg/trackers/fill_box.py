"""Tracker `fill_box`: the box itself as a mask, the same on every frame. The lower bound for any real tracker."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from revseg.masks import MaskTrack, encode
from revseg.registry import register
from revseg.trackers.streaming import TrackObject, plan
from revseg.types import Grounding
from revseg.video import Video


@register("tracker", "fill_box")
def fill_box(video: Video, groundings: Sequence[Grounding]) -> MaskTrack:
    """Every frame shows the boxes of the nearest prompted frame (of two as near, the earlier), filled.

    Edges are rounded to whole pixels and a box keeps at least one. Points alone fill nothing. No frame is read.
    """
    objects = plan(video, groundings)
    ids = np.arange(len(video))
    if not objects:
        return MaskTrack.empty(video.size, ids, objects=0)
    rows = tuple(_row(item, ids, video.size) for item in objects)
    return MaskTrack(rows, video.size, ids, names=tuple(item.name for item in objects))


def _row(item: TrackObject, ids: np.ndarray, size: tuple[int, int]) -> tuple[bytes, ...]:
    prompts = [prompt for instance in item.instances for prompt in instance]
    frames = sorted({prompt.frame_id for prompt in prompts})
    filled = [encode(_fill([p.box for p in prompts if p.frame_id == frame], size)) for frame in frames]
    nearest = np.abs(ids[:, None] - np.array(frames)).argmin(1)
    return tuple(filled[i] for i in nearest)


def _fill(boxes: Sequence[np.ndarray | None], size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    mask = np.zeros(size, bool)
    height, width = size
    for box in boxes:
        if box is not None:
            left, top, right, bottom = box.tolist()
            x1, x2 = _edges(left, right, width)
            y1, y2 = _edges(top, bottom, height)
            mask[y1:y2, x1:x2] = True
    return mask


def _edges(low: float, high: float, extent: int) -> tuple[int, int]:
    start = min(int(np.floor(low * extent + 0.5)), extent - 1)
    return start, max(int(np.floor(high * extent + 0.5)), start + 1)
