"""12, 16 and 20 frames in training and test, with the time of a step (Table 6 of the paper), on the synthetic world.

    python benchmarks/frames.py --steps 30 --seeds 0 1 --samples 150

The starting checkpoint was taught with 16 frames; RL alone sees another number. Times are of a shared machine.
"""

from pathlib import Path
from typing import Any

from ablations import Size, main

from revseg import Variant


def run(out: Path, size: Size) -> dict[str, Any]:
    """The table, and seconds a step of each training."""
    variants = {
        f"{train}/{test}": Variant({"num_frames": train}, test={"num_frames": test})
        for train, test in ((16, 16), (12, 12), (20, 20), (16, 12), (16, 20))
    }
    variants |= {f"before RL/{test}": Variant({"num_frames": test}, train=False, seeds=(0,)) for test in (12, 16, 20)}
    table = size.ablate(variants, out)
    steps: dict[str, float] = {}
    for frames in ("12", "16", "20"):
        times = [one.train["seconds_per_step"] for one in table.runs if one.variant == f"{frames}/{frames}"]
        steps[frames] = sum(times) / len(times)
    return {"seconds_per_step": steps, "table": table}


if __name__ == "__main__":
    main("frames", __doc__, run)
