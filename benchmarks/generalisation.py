"""The small policy without fine-tuning on shifted versions of the synthetic world, with the drop per shift.

    python benchmarks/generalisation.py --samples 300

Shifts of colours, wording, noise, compression and background keep the scenes: their drops are paired question by
question. The others make other scenes: their drops compare two samples of questions, and have wider intervals.
"""

from pathlib import Path
from typing import Any

from ablations import TRAINED, Size, main

from revseg import Variant

SHIFTS = {
    "unseen colours": "colours=unseen",
    "unseen forms": "forms=unseen",
    "reworded queries": "wording=reworded",
    "half speed": "speed=0.5",
    "double speed": "speed=2",
    "small objects": "scale=0.6",
    "large objects": "scale=1.4",
    "5 or 6 objects": "objects=[5, 6]",
    "16 frames": "frames=16",
    "64 frames": "frames=64",
    "128 frames": "frames=128",
    "noise 0.05": "noise=0.05",
    "noise 0.15": "noise=0.15",
    "JPEG quality 30": "compression=30",
    "JPEG quality 8": "compression=8",
    "textured background": "background=texture",
}


def run(out: Path, size: Size) -> dict[str, Any]:
    """The table, and per shift the drop of J&F."""
    plain: dict[str, Any] = {"no shift": Variant(train=False, seeds=(0,))}
    shifted = {
        name: Variant(train=False, seeds=(0,), dataset=size.shapes(size.samples, "test", options))
        for name, options in SHIFTS.items()
    }
    table = size.ablate({**plain, **shifted}, out)
    drops = {}
    for name in SHIFTS:
        gap = table.difference(name)
        low, high = (None if end is None else -end for end in (gap.high, gap.low))
        drops[name] = {"drop": -gap.difference, "low": low, "high": high, "paired": table.paired(name)}
    return {"drops": drops, "table": table}


if __name__ == "__main__":
    main("generalisation", __doc__, run, Size(1, (0,), 300, {"policy": TRAINED}))
