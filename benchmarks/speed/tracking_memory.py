"""Peak memory of tracking 5,000 frames against 100, for every tracker, each run in a process of its own.

    python benchmarks/speed/tracking_memory.py --out benchmarks/results/speed/tracking_memory.json

Frames of 120x160 are rendered when they are read; one target, prompted in the middle. SAM 2 (both packages) are small
random models, as no weights are needed for what is asked here. "setup" is the resident memory once the tracker is built
and has tracked eight frames; "growth" is the highest above it while the video is tracked. The result itself, codes of
every frame, is as long as the video (and a random model's masks are ragged): the ratio of growths leaves it out. Linux.
"""

import importlib
import json
import sys
import tempfile
from pathlib import Path

import measure
import numpy as np

from revseg.registry import build
from revseg.types import Grounding
from revseg.video import Video

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))  # where the tiny models are made
TRACKERS = ("fill_box", "flow", "flow:flat=false", "sam2", "sam2_hf")
SIZE = (120, 160)
FLOOR = 4 << 20  # bytes: below this growth is the allocator's, and says nothing of the length
TEXTURE = np.random.default_rng(0).integers(40, 120, (*SIZE, 3), np.uint8)


def render(ids: np.ndarray) -> np.ndarray:
    """uint8[t h w 3]: a striped square goes to and fro before a still texture."""
    frames = np.repeat(TEXTURE[None], len(ids), 0)
    for frame, t in zip(frames, ids.tolist(), strict=True):
        frame[40:75, left(t) : left(t) + 35] = (230, 60, 40)
        frame[44:75:8, left(t) : left(t) + 35] = (60, 200, 220)
    return frames


def left(t: int) -> int:
    """The square's first column on frame t."""
    return 10 + abs(t % 200 - 100)


def box(t: int) -> np.ndarray:
    """float32[1 4]: where the square is on frame t, unit xyxy."""
    height, width = SIZE
    return np.array([[left(t) / width, 40 / height, (left(t) + 35) / width, 75 / height]], np.float32)


def track(spec: str, length: int) -> dict[str, int]:
    import torch

    torch.set_num_threads(1)
    tracker = build("tracker", spec)

    def run(frames: int) -> tuple[int, int]:
        video = Video("rendered", SIZE, 25.0, frames, render)
        masks = tracker(video, [Grounding(frames // 2, box(frames // 2))])
        return int(masks.visible.sum()), sum(
            sys.getsizeof(code) for code in {id(c): c for c in masks.counts[0]}.values()
        )

    run(8)
    setup, _ = measure.memory()
    measure.forget_peak()
    visible, result = run(length)
    return {"setup": setup, "peak": measure.memory()[1], "visible": visible, "result": result}


def main() -> None:
    parser = measure.arguments(__doc__)
    parser.add_argument("--child", nargs=2, metavar=("SPEC", "FRAMES"), help="one run, as JSON")
    parser.add_argument("--trackers", nargs="+", default=TRACKERS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(track(given.child[0], int(given.child[1]))))
        return
    lengths = (10, 20) if given.small else (100, 5000)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for spec in given.trackers:
            short, long = (measure.run_child("--child", _spec(spec, Path(folder)), str(n)) for n in lengths)
            growth = [max(found["peak"] - found["setup"] - found["result"], FLOOR) for found in (short, long)]
            rows.append(
                {
                    "what": f"{spec}: tracking {lengths[1]} frames against {lengths[0]}",
                    "setup_mb": short["setup"] / 1e6,
                    "growth_mb": [(found["peak"] - found["setup"]) / 1e6 for found in (short, long)],
                    "result_mb": [found["result"] / 1e6 for found in (short, long)],
                    "peak_mb": [found["peak"] / 1e6 for found in (short, long)],
                    "ratio_of_growth": growth[1] / growth[0],
                    "ratio_of_peaks": long["peak"] / short["peak"],
                    "frames_with_a_mask": [short["visible"], long["visible"]],
                    "target": 1.2,
                }
            )
    measure.report(rows, given.out)


def _spec(spec: str, folder: Path) -> str:
    if spec not in ("sam2", "sam2_hf"):
        return spec
    if not (folder / spec).exists():
        getattr(importlib.import_module("tiny_sam2"), f"save_tiny_{spec}")(folder / spec)
    return f"{spec}:model={folder / spec}"


if __name__ == "__main__":
    main()
