"""J and F of masks: against the official DAVIS definition done the official way, and J on codes against decoding.

    python benchmarks/speed/jf.py --out benchmarks/results/speed/jf.json

On wavy ellipses that move, at 480x854: a small, a middling and a large one (1, 9 and 50 % of the frame).
"""

from typing import Any

import cv2
import davis_official as official
import measure
import numpy as np

from revseg.masks import MaskTrack, coco
from revseg.masks.metrics import j_and_f, region

SIZE = (480, 854)
SHAPES = {"small": (30, 20, 1.0), "middling": (120, 100, 3.0), "large": (190, 350, 1.0)}  # radii, pixels a frame


def wavy(t: int, shape: str, off: float = 0.0, size: tuple[int, int] = SIZE) -> np.ndarray:
    """bool[h w]: the thing on frame t; `off` makes a prediction of it."""
    ry, rx, speed = SHAPES[shape]
    y, x = np.ogrid[: size[0], : size[1]]
    dy, dx = y - size[0] / 2 - off, x - size[1] / 2 - speed * (t - 16) - 1.3 * off
    radius = 1 + 0.12 * np.sin(5 * np.arctan2(dy, dx) + off / 9)
    return (dy / ry) ** 2 + (dx / rx) ** 2 < radius**2


def dense(shape: str, frames: int, turns: int) -> dict[str, Any]:
    truth = np.stack([wavy(t, shape) for t in range(frames)])
    pred = np.stack([wavy(t, shape, 6.0) for t in range(frames)])

    def ours() -> Any:
        return j_and_f(pred, truth)

    def baseline() -> list[tuple[float, float]]:
        return [(official.j(t, p), official.f(t, p)) for t, p in zip(truth, pred, strict=True)]

    found, want = ours(), np.array(baseline())
    gap = max(np.abs(found.regions - want[:, 0]).max(), np.abs(found.contours - want[:, 1]).max())
    times = measure.per(measure.take_turns(ours, baseline, turns=turns), frames)
    return {"what": f"J and F a frame, dense masks, {shape} thing", **_frame(times, gap), "target": 10}


def codes(shape: str, frames: int, turns: int, both: bool) -> dict[str, Any]:
    truth = MaskTrack.from_dense(np.stack([wavy(t, shape) for t in range(frames)]))
    pred = MaskTrack.from_dense(np.stack([wavy(t, shape, 6.0) for t in range(frames)]))

    def ours() -> np.ndarray:
        return np.stack([(a := j_and_f(pred, truth)).regions, a.contours], 1) if both else region(pred, truth)[:, None]

    def baseline() -> np.ndarray:
        rows = []
        for i in range(frames):
            p, t = coco.decode(pred.rle(0, i)), coco.decode(truth.rle(0, i))
            rows.append([official.j(t, p), *([official.f(t, p)] if both else [])])
        return np.array(rows)

    gap = np.abs(ours() - baseline()).max()
    times = measure.per(measure.take_turns(ours, baseline, turns=turns), frames)
    what = "J and F a frame, from run-length codes" if both else "J a frame, from run-length codes"
    return {"what": f"{what}, {shape} thing", **_frame(times, gap), "target": None if both else 20}


def _frame(times: dict[str, Any], gap: float) -> dict[str, Any]:
    return {**times, "largest_difference": float(gap), "equal": bool(gap <= 1e-12)}


def main() -> None:
    given = measure.arguments(__doc__).parse_args()
    cv2.setNumThreads(1)
    frames, turns = (4, 1) if given.small else (32, 9)
    rows = [dense(shape, frames, turns) for shape in SHAPES]
    rows += [codes(shape, frames, turns, both) for both in (False, True) for shape in SHAPES]
    measure.report(rows, given.out)


if __name__ == "__main__":
    main()
