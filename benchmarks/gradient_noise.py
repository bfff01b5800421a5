"""How much of one RL step's gradient is signal? Cosines between the gradients of batches that have nothing in common.

    python benchmarks/gradient_noise.py --batches 16 --out benchmarks/results/gradient_noise.json

Every batch is `queries_per_step` x `group_size` conversations of the same policy, about other questions. If a batch's
gradient is the true one plus noise, the mean cosine c of two batches is the share of its squared length that is signal,
and (1 - c) / c batches would have to be averaged until signal and noise are of one length (S. McCandlish et al., arXiv
1812.06162, call that the noise scale). Settings are those of configs/shapes_grpo.toml, with all weights trained.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from ablations import Size, circumstances

from revseg import TrainConfig, build

PARTS = {"vision tower": True, "language model": False}


def gradients(size: Size, config: TrainConfig, batches: int) -> dict[str, Any]:
    """float32[batches parameters] of each part, by name."""
    import torch
    from accelerate import Accelerator

    from revseg.objectives.completed import completed
    from revseg.training.grpo import judge
    from revseg.training.update import update

    model, accelerator = size.base.resolved(), Accelerator(cpu=not torch.cuda.is_available())
    model = model.replace(sampling=config.sampling)
    policy: Any = model.built_policy
    objective, data = completed(build("objective", config.objective)), build("dataset", size.shapes(100_000, "train"))
    rows: dict[str, list[Any]] = {name: [] for name in PARTS}
    for number in range(batches):
        judged = judge(model, data, config, number, accelerator)  # step `number` of one epoch: other questions
        policy.model.zero_grad()
        update(policy, objective, None, judged, config, accelerator)
        for name, visual in PARTS.items():
            named = [(".visual." in n, p.grad) for n, p in policy.model.named_parameters() if p.grad is not None]
            rows[name].append(torch.cat([grad.flatten() for seen, grad in named if seen == visual]).cpu())
        print(f"batch {number + 1} of {batches}: reward {judged.totals.mean():.3f}", flush=True)
    return {name: torch.stack(some) for name, some in rows.items()}


def signal(rows: Any) -> dict[str, float]:
    """Mean length of float[b p] gradients, mean cosine of two with its standard error, and the noise scale in batches.

    The error is a jackknife's over batches, because pairs that share one are not independent.
    """
    lengths = rows.norm(dim=1)
    units = (rows / lengths[:, None]).double()
    cosines = (units @ units.T).numpy()
    count = len(cosines)
    mean = (cosines.sum() - count) / (count * (count - 1))
    without = [
        (np.delete(np.delete(cosines, i, 0), i, 1).sum() - (count - 1)) / ((count - 1) * (count - 2))
        for i in range(count)
    ]
    error = float(np.sqrt((count - 1) / count * np.square(np.array(without) - np.mean(without)).sum()))
    return {
        "norm": float(lengths.mean()),
        "cosine": float(mean),
        "cosine_error": error,
        "noise_scale": (1 - mean) / mean if mean > 0 else float("inf"),
    }


def measure(size: Size, batches: int) -> dict[str, dict[str, float]]:
    """`signal` of each part and of all weights together."""
    import torch

    rows = gradients(size, size.config, batches)
    return {**{name: signal(some) for name, some in rows.items()}, "all": signal(torch.cat(list(rows.values()), 1))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=16, help="at least 3")
    parser.add_argument("--policy", default="qwen:model=small_sft")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    # without the KL, which is nothing at the start of a run
    size = Size(
        seeds=(0,), samples=0, model={"policy": args.policy}, train={"objective": "grpo:beta=0", "freeze_vision": False}
    )
    found = measure(size, args.batches)
    for name, row in found.items():
        print(name, ", ".join(f"{key} {value:.3g}" for key, value in row.items()))
    if args.out:
        record = {**circumstances(size), "batches": args.batches, "found": found}
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(record, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
