"""A tracker that stands still, and a sampler of two frames."""

from collections.abc import Sequence

import numpy as np

from revseg.masks import MaskTrack
from revseg.types import Clip, Grounding, Query
from revseg.video import Video


class Still:
    """Every object's first box, filled, on every frame."""

    def __init__(self, margin: int = 0) -> None:
        self.margin = margin

    def __call__(self, video: Video, groundings: Sequence[Grounding]) -> MaskTrack:
        height, width = video.size
        first = {g.object_id: g for g in reversed(groundings)}
        masks = np.zeros((len(first), len(video), height, width), bool)
        for mask, (_, grounding) in zip(masks, sorted(first.items()), strict=True):
            x1, y1, x2, y2 = np.rint(grounding.boxes[0] * [width, height, width, height]).astype(int)
            mask[:, max(y1 - self.margin, 0) : y2 + self.margin, max(x1 - self.margin, 0) : x2 + self.margin] = True
        return MaskTrack.from_dense(masks)


def ends(video: Video, query: Query, n: int, /) -> Clip:
    """The first and the last frame."""
    ids = np.unique([0, len(video) - 1])[:n]
    return Clip(video.read(ids), ids)
