"""One round against two, before and after RL (Table 5 of the paper), on the synthetic world.

    python benchmarks/decomposition.py --steps 30 --seeds 0 1 --samples 150

The starting checkpoint was taught both plans, unequally: see `ablations.TAUGHT`, which the record repeats.
"""

from pathlib import Path
from typing import Any

from ablations import Size, gap, main
from train_small_policy import ONE_ROUND, ROUNDS

from revseg import Variant

FIGURES = ("J&F", "parsed", "reward/temporal", "reward/spatial")


def run(out: Path, size: Size) -> dict[str, Any]:
    """The table, and what RL gained in each plan."""
    one, two = {"plan": (ONE_ROUND,)}, {"plan": ROUNDS}
    variants = {
        "one round, before RL": Variant(one, train=False, seeds=(0,)),
        "one round, after RL": Variant(one),
        "two rounds, before RL": Variant(two, train=False, seeds=(0,)),
        "two rounds, after RL": Variant(two),
    }
    table = size.ablate(variants, out)
    gains = {}
    for plan in ("one round", "two rounds"):
        gains[plan] = {f: gap(table, f"{plan}, after RL", f"{plan}, before RL", f) for f in FIGURES}
    return {"gain_by_rl": gains, "table": table}


if __name__ == "__main__":
    main("decomposition", __doc__, run)
