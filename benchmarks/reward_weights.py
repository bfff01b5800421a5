"""The weights of the three rewards swept, with the preset `fig4` that the paper's curves imply, on the synthetic world.

    python benchmarks/reward_weights.py --steps 30 --seeds 0 1 --samples 150

Names give format : temporal : spatial. All variants are judged by Eq. 8, whatever they were trained by.
"""

from pathlib import Path

from ablations import Size, main

from revseg import Table, Variant
from revseg.rewards import PRESETS

NAMES = ("format", "temporal", "spatial")
WEIGHTS = ((3, 1, 1), (1, 3, 1), (1, 1, 3), (0, 1, 1), (1, 0, 1), (1, 1, 0))


def run(out: Path, size: Size) -> Table:
    """Eq. 8 first, then `fig4`, each reward three times as heavy, and each left out."""
    variants = {
        "1:1:1 (Eq. 8)": Variant({"rewards": dict(PRESETS["eq8"])}),
        "1:0.6:2.4 (fig4)": Variant({"rewards": dict(PRESETS["fig4"])}),
    }
    for weights in WEIGHTS:
        chosen = {name: float(weight) for name, weight in zip(NAMES, weights, strict=True) if weight}
        variants[":".join(map(str, weights))] = Variant({"rewards": chosen})
    variants["before RL"] = Variant(train=False, seeds=(0,))
    return size.ablate(variants, out)


if __name__ == "__main__":
    main("reward_weights", __doc__, run)
