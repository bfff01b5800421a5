"""Small videos with exact masks, to try trackers and policies on: squares that move over a plain background."""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from revseg.masks import MaskTrack
from revseg.testing.strategies import Draw
from revseg.types import Clip, Grounding, Query
from revseg.video import Video

_COLOURS = np.array([[220, 40, 40], [40, 80, 230], [240, 200, 40]], np.uint8)


@dataclass(frozen=True, eq=False)
class Scene:
    """A video with its frames, its truth and a query."""

    video: Video
    frames: np.ndarray  # uint8[t h w 3]
    truth: MaskTrack  # one object per square
    query: Query

    @property
    def clip(self) -> Clip:
        """The whole video as the clip that a policy sees."""
        return Clip(self.frames, np.arange(len(self.frames)))

    def ground(self, obj: int, frame: int, object_id: int | None = None) -> Grounding:
        """The grounding of an object by its true box on a frame."""
        number = obj if object_id is None else object_id
        box = self.truth.select([obj]).at([frame]).boxes
        return Grounding(frame, box, description=f"square {number}", object_id=number)


def moving_squares(frames: int = 8, size: tuple[int, int] = (48, 64), objects: int = 1, step: int = 2) -> Scene:
    """Squares of a quarter of the height, one above the other, that move right by `step` pixels per frame."""
    height, width = size
    side = max(height // 4, 1)
    masks = np.zeros((objects, frames, height, width), bool)
    pictures = np.full((frames, height, width, 3), 110, np.uint8)
    for obj in range(objects):
        top = min(side // 2 + obj * 3 * side // 2, height - side)
        for t in range(frames):
            left = min(2 + t * step, width - side)
            masks[obj, t, top : top + side, left : left + side] = True
        pictures[masks[obj]] = _COLOURS[obj % len(_COLOURS)]
    name = f"{objects} squares, {frames} frames, {height} by {width}, step {step}"
    video = Video(name, size, 12.0, frames, lambda indices: pictures[indices])
    return Scene(video, pictures, MaskTrack.from_dense(masks), Query(name, "the square that moves"))


@st.composite
def scenes(draw: Draw) -> Scene:
    """Moving squares: 1 to 8 frames, 1 to 3 objects, any size from 24x24 to 50x70."""
    size = (draw(st.integers(24, 50)), draw(st.integers(24, 70)))
    return moving_squares(draw(st.integers(1, 8)), size, draw(st.integers(1, 3)), draw(st.integers(0, 3)))
