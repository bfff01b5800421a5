"""Captions of one object in a clip, from its boxes: when it is visible, where, and how large."""

import numpy as np
from jaxtyping import Float

# What a caption is about, drawn uniformly. "at" (one frame alone) is there twice, because captions of two or three
# frames can be guessed from the first; "when" is there twice, because half of its captions are "from the first frame to
# the last" and teach little.
TOPICS = ("at", "at", "when", "when", "where", "size")
STEP = 4  # rounding of places and sizes, in percent


def caption(boxes: Float[np.ndarray, "t 4"], topic: str, start: int = 0) -> str:
    """The caption of an object with these unit boxes on the frames of a clip; "" if it is never visible.

    `start` is the number of the first frame. Topics:
    "when": the first and the last frame that show it, "from 0 to 15";
    "where": its centre, in percent of width and height, on the first of them, half-way and on the last,
    "24 60 to 40 60 to 56 60";
    "at 7": its centre on frame 7, "40 60", or "is not there";
    "size": its longer side in percent on the first and the last, "size 16 to 28".
    """
    visible = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(1))
    if not len(visible):
        return ""
    if topic.startswith("at "):
        frame = int(topic.removeprefix("at ")) - start
        return _centre(boxes[frame]) if frame in visible else "is not there"
    first, last = int(visible[0]), int(visible[-1])
    if topic == "when":
        return f"from {start + first} to {start + last}"
    middle = int(visible[np.abs(visible - (first + last) // 2).argmin()])
    if topic == "where":
        return " to ".join(_centre(boxes[frame]) for frame in (first, middle, last))
    sizes = _percent((boxes[[first, last], 2:] - boxes[[first, last], :2]).max(1))
    return f"size {sizes[0]} to {sizes[1]}"


def _centre(box: Float[np.ndarray, " 4"]) -> str:
    return " ".join(map(str, _percent((box[:2] + box[2:]) / 2)))


def _percent(shares: Float[np.ndarray, " n"]) -> list[int]:
    return [int(n) * STEP for n in np.round(np.asarray(shares, np.float64) * 100 / STEP)]
