"""What RL made of a policy, averaged with a supervised one weight by weight: how much of each is best?

    python benchmarks/averaging.py --policy qwen:model=runs/ablations/trained/RUN-seed-0 --samples 500

`--policy` is a training of `learning.py`. The share is chosen on the `validation` split, by the reward that RL
maximises; the `test` split then tells what it is worth beside the two that were averaged. As a control, RL's starting
checkpoint is averaged with the supervised one: what that gives is not RL's doing.
"""

from pathlib import Path
from typing import Any

from ablations import CAREFUL, START, Size, gap, main

from revseg import Variant
from revseg.training.average import average

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of RL's policy


def run(out: Path, size: Size) -> dict[str, Any]:
    """Figures by share, the share chosen, and on the test split how far the chosen average is from either end."""
    trained = size.base.policy
    mixed = {share: mixture(trained, share, out / f"share-{share:.2f}") for share in SHARES}
    split = size.shapes(size.samples, "validation")
    chosen_on = {f"{share:.2f}": untrained(policy, split) for share, policy in mixed.items()}
    control = untrained(mixture(START, 0.5, out / "control"), split)
    first = size.ablate({**chosen_on, "control, 0.50 of RL's start": control}, out)
    best = max(SHARES, key=lambda share: first.cell(f"{share:.2f}", "reward").mean)
    tested = {"supervised": CAREFUL, "after RL": trained, "average": mixed[best]}
    table = size.ablate({name: untrained(policy) for name, policy in tested.items()}, out)
    gains = {f: {n: gap(table, "average", n, f) for n in ("supervised", "after RL")} for f in ("J&F", "reward")}
    return {"validation": first.to_dict(), "share": best, "average_minus": gains, "table": table}


def mixture(policy: str, share: float, folder: Path) -> str:
    """The spec of the average, made unless it is there; at the ends, of that policy."""
    if share in (0.0, 1.0):
        return policy if share else CAREFUL
    made = (folder / "config.json").is_file()
    return f"qwen:model={folder}" if made else average({CAREFUL: 1 - share, policy: share}, folder)


def untrained(policy: str, dataset: str | None = None) -> Variant:
    return Variant({"policy": policy}, train=False, seeds=(0,), dataset=dataset)


if __name__ == "__main__":
    main("averaging", __doc__, run, Size(1, (0,), 500))
