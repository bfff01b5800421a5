"""Records what TRL computes, for tests/test_objectives.py: `python tests/record_trl.py` with `pip install trl==1.16.0`.

TRL's own lines run here: its `_compute_loss` on a stand-in for the trainer, and the blocks of its trainers' methods
that turn rewards into advantages, cut out of their source. The result is tests/data/trl.json.
"""

import inspect
import json
import textwrap
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from trl.trainer import grpo_trainer, rloo_trainer  # pyright: ignore[reportMissingImports]

ROWS = [7, 4, 5, 1]
# What TRL is asked for, and the options of revseg's Objective that say the same.
LOSSES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"loss_type": "grpo"}, {}),
    ({"loss_type": "grpo", "beta": 0.04}, {"beta": 0.04}),
    ({"loss_type": "grpo", "beta": 0.04, "use_bias_correction_kl": True}, {"beta": 0.04, "kl_unbiased": True}),
    ({"loss_type": "grpo", "delta": 1.5}, {"delta": 1.5}),
    ({"loss_type": "grpo", "epsilon_high": 0.28}, {"clip_high": 0.28}),
    ({"loss_type": "bnpo"}, {"aggregation": "token_mean"}),
    (
        {"loss_type": "dr_grpo", "max_completion_length": 64},
        {"aggregation": "seq_mean_token_sum_norm", "max_length": 64},
    ),
    ({"loss_type": "dapo", "epsilon_high": 0.28}, {"aggregation": "token_mean", "clip_high": 0.28}),
    ({"loss_type": "cispo", "epsilon_high": 5.0}, {"policy_loss": "cispo", "aggregation": "token_mean"}),
    ({"loss_type": "sapo"}, {"policy_loss": "sapo"}),
    (
        {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon_low": 0.03, "epsilon_high": 0.04},
        {"policy_loss": "gspo", "clip_low": 0.03, "clip_high": 0.04},
    ),
    (
        {"loss_type": "luspo", "importance_sampling_level": "sequence", "epsilon_low": 0.2, "epsilon_high": 0.2},
        {"policy_loss": "gspo", "clip_low": 0.2, "clip_high": 0.2, "aggregation": "seq_mean_token_sum"},
    ),
]
ADVANTAGES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"scale_rewards": "group"}, {"advantage": "grpo"}),
    ({"scale_rewards": "none"}, {"advantage": "dr_grpo"}),
    ({"scale_rewards": "batch"}, {"advantage": "lite_ppo"}),
    ({"multi_objective_aggregation": "normalize_then_sum"}, {"advantage": "gdpo"}),
    ({"rloo": True}, {"advantage": "rloo"}),
]


def tensors() -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(7)
    shape = (len(ROWS), max(ROWS))
    new = -2 * torch.rand(shape, generator=draw, dtype=torch.float64)
    old, ref = (new + 0.4 * torch.randn(shape, generator=draw, dtype=torch.float64) for _ in range(2))
    advantages = torch.randn(len(ROWS), generator=draw, dtype=torch.float64)
    mask = (torch.arange(max(ROWS)) < torch.tensor(ROWS)[:, None]).double()
    return {"new": new, "old": old, "ref": ref, "advantages": advantages, "mask": mask}


def loss(options: dict[str, Any], data: dict[str, torch.Tensor]) -> dict[str, Any]:
    new = data["new"].clone().requires_grad_()
    given = {"importance_sampling_level": "token", "epsilon_low": 0.2, "epsilon_high": 0.2, "beta": 0.0}
    given |= {"max_completion_length": 64} | options
    args = {"delta": None, "use_bias_correction_kl": False, "sapo_temperature_pos": 1.0, "sapo_temperature_neg": 1.05}
    accelerator = SimpleNamespace(num_processes=1, gather=lambda x: x, reduce=lambda x, reduction: x)
    trainer = SimpleNamespace(
        args=SimpleNamespace(**(args | {"steps_per_generation": 1} | {k: v for k, v in given.items() if k in args})),
        accelerator=accelerator,
        model=SimpleNamespace(training=True),
        aux_loss_enabled=False,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        use_vllm=False,
        vllm_importance_sampling_correction=False,
        current_gradient_accumulation_steps=1,
        _entropy_bonus_enabled=False,
        _metrics={"train": defaultdict(list)},
        _get_per_token_logps_and_entropies=lambda *_, **__: (new, torch.zeros_like(new), None),
        **{k: v for k, v in given.items() if k not in args},
    )
    ids = torch.zeros(new.shape, dtype=torch.long)
    inputs = {
        "prompt_ids": ids[:, :1],
        "prompt_mask": ids[:, :1] + 1,
        "completion_ids": ids,
        "completion_mask": data["mask"],
        "advantages": data["advantages"],
        "old_per_token_logps": data["old"],
        "ref_per_token_logps": data["ref"],
        "num_items_in_batch": data["mask"].sum(),
    }
    value = grpo_trainer.GRPOTrainer._compute_loss(trainer, None, inputs)
    (slope,) = torch.autograd.grad(value, new)
    return {"loss": value.item(), "gradient": slope.tolist()}


def advantages(options: dict[str, Any], parts: torch.Tensor, weights: torch.Tensor) -> list[list[float]]:
    """TRL's block of code on rewards [groups, n, components]."""
    groups, n, components = parts.shape
    rows = parts.reshape(-1, components)
    trainer = SimpleNamespace(
        reward_weights=weights,
        reward_funcs=[None] * components,
        num_generations=n,
        scale_rewards=options.get("scale_rewards", "group"),
        multi_objective_aggregation=options.get("multi_objective_aggregation", "sum_then_normalize"),
        normalize_advantages=False,
    )
    if "rloo" in options:
        module, method = rloo_trainer, rloo_trainer.RLOOTrainer._generate_and_score_completions
        start, stop = "grouped_rewards = ", "# Normalize advantages"
    else:
        module, method = grpo_trainer, grpo_trainer.GRPOTrainer._generate_and_score_completions
        start, stop = 'if self.multi_objective_aggregation == "sum_then', "advantages = torch.nan_to_num"
    space = vars(module) | {
        "self": trainer,
        "rewards_per_func": rows,
        "rewards": (rows * weights).sum(1),
        "num_generations": n,
        "unscorable_mask": torch.zeros(len(rows), dtype=torch.bool),
        "device": "cpu",
    }
    exec(cut(inspect.getsource(method), start, stop), space)
    return space["advantages"].reshape(groups, n).tolist()


def cut(source: str, start: str, stop: str) -> str:
    """The lines from the one with `start` up to the one with `stop`, dedented."""
    begin = source.rindex("\n", 0, source.index(start)) + 1
    return textwrap.dedent(source[begin : source.rindex("\n", 0, source.index(stop, begin)) + 1])


def main() -> None:
    data = tensors()
    draw = torch.Generator().manual_seed(8)
    parts, weights = torch.rand(3, 4, 2, generator=draw, dtype=torch.float64), torch.tensor([1.0, 0.3]).double()
    parts[2, :, 1] = 0.5  # a component, then a whole group, without a spread
    parts[1] = 0.25
    record = {
        "trl": version("trl"),
        "tensors": {name: tensor.tolist() for name, tensor in data.items()},
        "rewards": parts.tolist(),
        "weights": weights.tolist(),
        "losses": [{"trl": trl, "ours": ours} | loss(trl, data) for trl, ours in LOSSES],
        "advantages": [
            {"trl": trl, "ours": ours, "values": advantages(trl, parts, weights)} for trl, ours in ADVANTAGES
        ],
    }
    target = Path(__file__).parent / "data" / "trl.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(record) + "\n")
    print(f"wrote {target}: {len(LOSSES)} losses, {len(ADVANTAGES)} advantages of TRL {version('trl')}")


if __name__ == "__main__":
    main()
