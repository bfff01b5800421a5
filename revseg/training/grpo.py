"""GRPO on the two-round conversation (Eq. 9 and 10): one loop, read from top to bottom.

Several processes (torchrun) share a step's queries; gradients are added up over them, and normalised by the counts of
the whole batch, so that two processes take the step of one.
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revseg.errors import InputError, OutputError
from revseg.pipeline import ReVSeg
from revseg.registry import build
from revseg.training.checkpoint import read_checkpoint, save_checkpoint
from revseg.training.config import TrainConfig
from revseg.training.health import warnings_of
from revseg.training.log import Log
from revseg.training.optim import make_optimizers, scale_rates, warmup_then_decay
from revseg.training.reference import Reference, make_reference
from revseg.training.rollouts import Judged, cut_off, draw, figures, packs, pad, sampled
from revseg.types import Dataset, Sampling

if TYPE_CHECKING:
    import torch

Report = Callable[[Mapping[str, Any]], None]


def train(
    model: ReVSeg,
    dataset: Dataset,
    out: str | Path,
    config: TrainConfig | None = None,
    *,
    report: Report = lambda row: None,
) -> ReVSeg:
    """Train the model's policy on a dataset with truth; the trained model, whose policy is `qwen:model=<out>`.

    `out` holds config.json, log.jsonl, samples.jsonl, checkpoint.pt and, at the end, the weights. Started again with
    the same settings it goes on from its checkpoint, and ends with the weights of a run that was not stopped.
    InputError when `out` holds a run with other settings; OutputError when it cannot be written.
    """
    import torch
    from accelerate import Accelerator

    config = config or TrainConfig()
    accelerator = Accelerator(log_with=config.log_with, project_dir=str(out))
    model = model.replace(sampling=Sampling(config.temperature, config.top_p, 0, config.max_new_tokens)).resolved()
    policy: Any = model.built_policy
    prepare(policy, config)
    out = _folder(out, model, config, accelerator)
    objective = build("objective", config.objective)
    reference = _reference(policy, config) if objective.beta > 0 else None
    optimizers = make_optimizers(policy.model, config.optimizer, config.lr, config.weight_decay)
    start = read_checkpoint(out / "checkpoint.pt", policy.model, optimizers).get("step", 0)
    with Log(out, accelerator, start) as log:
        for step in range(start, config.steps):
            began = time.perf_counter()
            judged = judge(model, dataset, config, step, accelerator)
            held = time.perf_counter()
            scale_rates(optimizers, warmup_then_decay(step, config.steps, config.warmup, decay=config.decay))
            losses = update(policy, objective, reference, judged, config, accelerator)
            norm = torch.nn.utils.clip_grad_norm_(trained(policy), config.grad_clip).item()
            for optimizer in optimizers:
                if norm == norm:  # a NaN would end the run for good: leave the step out and say so
                    optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            row = {"step": step, **figures(judged, policy), **losses, "grad_norm": norm}
            row |= {"seconds/rollout": held - began, "seconds/update": time.perf_counter() - held}
            row = log.add(row, judged if step % config.samples_every == 0 else None)
            report({**row, "warnings": warnings_of(log.recent)})
            if accelerator.is_main_process and ((step + 1) % config.save_every == 0 or step + 1 == config.steps):
                save_checkpoint(out / "checkpoint.pt", policy.model, optimizers, step + 1)
    if accelerator.is_main_process:
        keep(model, out)
    accelerator.wait_for_everyone()
    return model.replace(policy=f"qwen:model={out}", sampling=Sampling())


def judge(model: ReVSeg, dataset: Dataset, config: TrainConfig, step: int, accelerator: Any) -> Judged:
    """This process's share of the step's queries, `rollouts` conversations each, scored."""
    from dataclasses import replace

    samples = draw(dataset, config.prompts, step, config.seed)
    mine = samples[accelerator.process_index :: accelerator.num_processes]
    seeded = replace(model.sampling, seed=config.seed * 1_000_003 + step)
    model.built_policy.model.eval()  # pyright: ignore[reportAttributeAccessIssue]
    groups = model.replace(sampling=seeded).rollouts(mine, config.rollouts)
    model.built_policy.forget()  # pyright: ignore[reportAttributeAccessIssue]
    rewards = [
        model.score(rollout, sample.truth)
        for sample, group in zip(mine, groups, strict=True)
        for rollout in group
        if sample.truth is not None
    ]
    return Judged([rollout for group in groups for rollout in group], rewards, config.rollouts)


def update(
    policy: Any,
    objective: Any,
    reference: Reference | None,
    judged: Judged,
    config: TrainConfig,
    accelerator: Any,
) -> dict[str, float]:
    """Gradients of the whole batch's loss, micro-batch by micro-batch, summed over processes; figures to log."""
    import torch

    policy.model.train()
    device = policy.model.device
    rollouts = judged.rollouts
    old, mask = pad([sampled(rollout).to(device) for rollout in rollouts])
    batches = packs([policy.length(rollout) for rollout in rollouts], config.tokens)
    ref = None if reference is None else _scored(reference, rollouts, batches, old)
    penalty = objective.kl_penalty(old, ref, mask) if objective.kl_in_reward else None
    advantages, kept = _advantages(objective, judged, mask, penalty, accelerator)
    truncated = torch.tensor([cut_off(rollout, policy.stops) for rollout in rollouts], device=device)
    mask = objective.mask_truncated(mask, truncated) & kept[:, None]
    counts = torch.tensor(objective.count(mask), device=device)
    count = float(accelerator.reduce(counts, "sum"))
    totals: dict[str, float] = {"loss": 0.0}
    for batch in batches:
        rows = torch.tensor(batch, device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.bf16):
            new, real = pad(policy.logprobs([rollouts[i] for i in batch], temperature=config.temperature))
        width = new.shape[1]
        some = (t[rows, :width] for t in (old, mask))
        loss, parts = objective.loss(
            new,
            next(some),
            None if ref is None else ref[rows, :width],
            advantages[rows],
            next(some) & real,
            count=max(count, 1.0),
        )
        loss.backward()
        totals["loss"] += loss.item()
        for name, value in parts.items():
            totals[name] = totals.get(name, 0.0) + value * len(batch) / len(rollouts)
    for parameter in trained(policy):
        if accelerator.num_processes > 1:
            grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad = accelerator.reduce(grad, "sum")
    return totals


def prepare(policy: Any, config: TrainConfig) -> None:
    """Put adapters on, freeze what is to stay, as the settings say; in place. InputError if it cannot be trained."""
    if not hasattr(policy, "logprobs"):
        raise InputError(f"{type(policy).__name__} cannot be trained: it has no logprobs; use a policy such as qwen")
    if config.lora and not hasattr(policy.model, "peft_config"):
        policy.add_lora(config.lora)
    if config.freeze_vision:
        base = policy.model.get_base_model() if hasattr(policy.model, "get_base_model") else policy.model
        base.model.visual.requires_grad_(False)
    if config.gradient_checkpointing:
        policy.model.gradient_checkpointing_enable({"use_reentrant": False})


def trained(policy: Any) -> "list[torch.nn.Parameter]":
    """The parameters that a step moves."""
    return [parameter for parameter in policy.model.parameters() if parameter.requires_grad]


def keep(model: ReVSeg, out: Path) -> None:
    """The trained weights with what they were taught, as `qwen:model=<out>` reads them."""
    policy: Any = model.built_policy
    taught = model.to_dict()
    policy.model.eval()
    policy.defaults = {**policy.defaults, **{name: taught[name] for name in ("rounds", "sampler", "num_frames")}}
    policy.save(str(out))


def _advantages(
    objective: Any, judged: Judged, mask: "torch.Tensor", penalty: "torch.Tensor | None", accelerator: Any
) -> "tuple[torch.Tensor, torch.Tensor]":
    """float[b] and bool[b] (which groups to learn from), computed over the groups of all processes."""
    import torch

    device = mask.device
    rewards = torch.tensor(judged.components if objective.weigh_components else judged.totals, device=device)
    if penalty is not None:
        rewards = rewards - penalty.reshape(rewards.shape)
    lengths = mask.sum(1).reshape(-1, judged.n)
    weights = torch.tensor(judged.weights, device=device)
    everywhere, long = accelerator.gather(rewards), accelerator.gather(lengths)
    advantages = objective.advantages(everywhere, lengths=long, weights=weights)
    kept = objective.keep_groups(everywhere)
    mine = slice(accelerator.process_index * len(rewards), (accelerator.process_index + 1) * len(rewards))
    return advantages[mine].reshape(-1).float(), kept[mine].repeat_interleave(judged.n)


def _scored(
    reference: Reference, rollouts: list[Any], batches: list[list[int]], like: "torch.Tensor"
) -> "torch.Tensor":
    import torch

    scores = torch.zeros_like(like)
    for batch in batches:
        for index, row in zip(batch, reference([rollouts[i] for i in batch]), strict=True):
            scores[index, : len(row)] = row
    return scores


def _reference(policy: Any, config: TrainConfig) -> Reference:
    kind = config.reference if config.reference != "auto" else "adapter" if config.lora else "copy"
    return make_reference(policy, kind, config.temperature)


def _folder(out: str | Path, model: ReVSeg, config: TrainConfig, accelerator: Any) -> Path:
    """The run's folder with its settings inside, checked before any work is done."""
    out = Path(out)
    settings = json.loads(json.dumps({"model": model.to_dict(), "train": config.to_dict()}))
    path = out / "config.json"
    record = out / "train.json"
    if record.is_file() and _fixed(json.loads(record.read_text("utf-8"))) != _fixed(settings):
        raise InputError(f"{out} holds a run with other settings (see {record}): choose another folder or remove it")
    if not record.is_file() and path.is_file():
        raise InputError(f"{out} holds a model: choose another folder for the run")
    if accelerator.is_main_process:
        try:
            out.mkdir(parents=True, exist_ok=True)
            record.write_text(json.dumps(settings, indent=2) + "\n", "utf-8")
        except OSError as error:
            raise OutputError(f"cannot write into {out}: {error}; choose a folder that can be written") from error
    if config.prompts % accelerator.num_processes:
        raise InputError(f"prompts={config.prompts} must divide among {accelerator.num_processes} processes")
    accelerator.wait_for_everyone()
    return out


def _fixed(settings: dict[str, Any]) -> dict[str, Any]:
    """What a run may not change when it goes on: everything but its length and how it reports."""
    free = ("steps", "save_every", "samples_every", "log_with", "tokens")
    return {**settings, "train": {k: v for k, v in settings["train"].items() if k not in free}}
