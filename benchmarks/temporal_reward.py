"""No temporal reward, the 0/1 one and the soft one of Eq. 7 (Table 7 of the paper), on the synthetic world.

    python benchmarks/temporal_reward.py --steps 30 --seeds 0 1 --samples 150

All variants are judged by Eq. 8, whatever they were trained by.
"""

from pathlib import Path

from ablations import Size, main

from revseg import Table, Variant

FORMAT, SPATIAL = {"format": 1.0}, {"spatial": 1.0}


def run(out: Path, size: Size) -> Table:
    """Trained with each reward, beside the policy that was not trained."""
    variants = {
        "none": Variant({"rewards": {**FORMAT, **SPATIAL}}),
        "0/1": Variant({"rewards": {**FORMAT, "temporal:soft=False": 1.0, **SPATIAL}}),
        "soft (Eq. 7)": Variant({"rewards": {**FORMAT, "temporal": 1.0, **SPATIAL}}),
        "before RL": Variant(train=False, seeds=(0,)),
    }
    return size.ablate(variants, out)


if __name__ == "__main__":
    main("temporal_reward", __doc__, run)
