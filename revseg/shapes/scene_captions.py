"""What can be seen of an object in a clip, in words: when it is there, where, and how large."""

import numpy as np
from jaxtyping import Float

# Each frame by itself first of all: what is told of two or three frames can be guessed from the first. Times are told
# as often as places: half of what is told of them is "from the first to the last".
ABOUT = ("at", "at", "when", "when", "where", "size")
STEP = 4  # of places and sizes, in percent


def tell(boxes: Float[np.ndarray, "t 4"], about: str, start: int = 0) -> str:
    """One object's boxes over a clip, as shares of the picture, told one way; "" for an object that is never seen.

    `start` is the number of the first frame.
    "when": the first and the last of the clip's frames that show it, "from 0 to 15". "where": its centre in percent of
    width and height on the first of them, half-way and on the last, "24 60 to 40 60 to 56 60". "at 7": its centre on
    frame 7, "40 60", or "is not there". "size": its longer side in percent on the first and the last, "size 16 to 28".
    """
    seen = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(1))
    if not len(seen):
        return ""
    if about.startswith("at "):
        frame = int(about.removeprefix("at ")) - start
        return _place(boxes[frame]) if frame in seen else "is not there"
    first, last = int(seen[0]), int(seen[-1])
    if about == "when":
        return f"from {start + first} to {start + last}"
    middle = int(seen[np.abs(seen - (first + last) // 2).argmin()])
    if about == "where":
        return " to ".join(_place(boxes[frame]) for frame in (first, middle, last))
    sizes = _percent((boxes[[first, last], 2:] - boxes[[first, last], :2]).max(1))
    return f"size {sizes[0]} to {sizes[1]}"


def _place(box: Float[np.ndarray, " 4"]) -> str:
    return " ".join(map(str, _percent((box[:2] + box[2:]) / 2)))


def _percent(shares: Float[np.ndarray, " n"]) -> list[int]:
    return [int(n) * STEP for n in np.round(np.asarray(shares, np.float64) * 100 / STEP)]
