"""The RL objectives side by side at equal budget: the same queries, rollouts, steps and learning rate.

    python benchmarks/objectives.py --steps 30 --seeds 0 1 --samples 150

One learning rate for all favours those whose gradients it suits; `reward_last_tenth` in the record tells which learnt.
"""

from pathlib import Path

from ablations import Size, main

from revseg import Table, Variant

OBJECTIVES = (
    "grpo:beta=0.001",  # the paper's, first
    "dr_grpo",
    "rloo",
    "reinforce_pp",
    "gdpo",
    "dapo",
    "gspo",
    "cispo",
    "gpg",
)


def run(out: Path, size: Size) -> Table:
    """Trained with each objective's own defaults, beside the policy that was not trained."""
    variants = {spec.partition(":")[0]: Variant(train={"objective": spec}) for spec in OBJECTIVES}
    return size.ablate({**variants, "before RL": Variant(train=False, seeds=(0,))}, out)


if __name__ == "__main__":
    main("objectives", __doc__, run)
