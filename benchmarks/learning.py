"""Does it learn? GRPO with the paper's three rewards from a supervised small policy, judged on held-out questions.

    python benchmarks/learning.py --steps 150 --seeds 0 1 2 --samples 500

Where it starts and what that was taught: `ablations.TAUGHT`, which the record repeats. Beside the policy before and
after stand the supervised one that was taught by a careful expert alone, before and after RL of its own (one seed, at a
lower rate, because at 1e-4 it unlearns names), the lower bound `random` and the upper bound `oracle`, which answers
from the truth. The curves are the paper's Figure 4 from our logs. An interrupted run goes on when started again.
"""

from pathlib import Path
from typing import Any

from ablations import CAREFUL, Size, gap, main

from revseg import Variant

BEFORE, AFTER, UPPER = "before RL", "after RL", "oracle"
ENDS = 15  # steps at both ends of a training whose means are recorded
CAREFUL_BEFORE, CAREFUL_AFTER = "careful alone, before RL", "careful alone, after RL"


def run(out: Path, size: Size) -> dict[str, Any]:
    """The table, how much of the way from start to oracle RL went, the ends of its curves, and Figure 4."""
    from revseg.training.curves import draw_curves, read_runs

    untrained, careful = {"train": False, "seeds": (0,)}, {"policy": CAREFUL}
    variants = {
        BEFORE: Variant(**untrained),
        AFTER: Variant(),
        CAREFUL_BEFORE: Variant(careful, **untrained),
        CAREFUL_AFTER: Variant(careful, train={"lr": 4e-5}, seeds=(0,)),
        "random": Variant({"policy": "random"}, **untrained),
        UPPER: Variant({"policy": "oracle:per_object=True"}, **untrained),
    }
    table = size.ablate(variants, out)
    way, gains = {}, {}
    for figure in ("J&F", "reward"):
        pairs = ((AFTER, BEFORE), (CAREFUL_AFTER, CAREFUL_BEFORE))
        gains[figure] = {name: gap(table, name, before, figure) for name, before in pairs}
        before, after, upper = (table.cell(name, figure).mean for name in (BEFORE, AFTER, UPPER))
        way[figure] = (after - before) / (upper - before) if upper != before else float("nan")
    logs = [run.train["folder"] for run in table.runs if run.variant == AFTER]
    figures = {"learning_curves": draw_curves(logs, out / "learning_curves.png", title="GRPO on shapes")}
    ends = {n: [v[:, :ENDS].mean(), v[:, -ENDS:].mean()] for n, v in read_runs(logs)[1].items()}
    more = {"gain_by_rl": gains, "share_of_the_way_to_the_oracle": way, "first_and_last_steps": ends}
    return {**more, "table": table, "figures": figures}


if __name__ == "__main__":
    main("learning", __doc__, run, Size(150, (0, 1, 2), 500, train={}))
