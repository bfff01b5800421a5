"""GRPO on the two-round conversation (Eq. 9 and 10): one loop, read from top to bottom.

Several processes (torchrun) share a step's queries; gradients are added up over them, and normalised by the counts of
the whole batch, so that two processes take the step of one.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revseg import checked
from revseg.errors import InputError
from revseg.objectives.completed import completed
from revseg.output import check_writable
from revseg.pipeline import ReVSeg
from revseg.registry import build
from revseg.training.checkpoint import load_checkpoint, save_checkpoint
from revseg.training.config import TrainConfig
from revseg.training.folder import alone, claim, keep, settings_of, spec_after
from revseg.training.log import Log, check_tracker
from revseg.training.memory import check_memory
from revseg.training.optimizers import descend, make_optimizers, scale_rates, sum_over_processes, warmup_then_decay
from revseg.training.prepare import autocast, prepare, reference_of, trained
from revseg.training.processes import make_accelerator
from revseg.training.reference import Reference
from revseg.training.rollouts import Judged, cut_off, draw, figures, packs, pad, sampled
from revseg.training.trainable import check_trainable, device_of, trainable
from revseg.types import Dataset, Rollout, TrainedPolicy, TrainingObjective

if TYPE_CHECKING:
    import torch

Report = Callable[[Mapping[str, Any]], None]


def train(
    model: ReVSeg,
    dataset: Dataset | str | Mapping[str, Any],
    out: str | Path,
    config: TrainConfig | None = None,
    *,
    report: Report = lambda row: None,
) -> ReVSeg:
    """Train a fresh copy of the model's policy on a dataset (or its spec) with truth; the model with the result.

    `out` holds train.json (the settings), log.jsonl, samples.jsonl, checkpoint.pt and, at the end, the weights, which
    the policy of the result reads. Started again with the same settings it goes on from its checkpoint, and ends
    with the weights of a run that was not stopped. `report` gets each step's row of the log, in the first process.
    A policy passed as an object instead of a spec is trained in place and should not be resumed: the reference of the
    KL is the policy as it is handed over.

    InputError when `out` holds a run with other settings, the policy, the dataset or the objective cannot be used, or
    the run cannot fit the device (before any weights are loaded, unless `check_memory=False`); OutputError when `out`
    cannot be written, or another process trains there.
    """
    import torch

    config, out, asked = config or TrainConfig(), Path(out), model
    objective, samples, accelerator = begin(dataset, out, config)
    check_memory(model.policy, config, objective.beta)
    with alone(out, accelerator):
        check_trainable(model.policy, config, objective.beta)
        torch.manual_seed(config.seed)  # fresh adapters are drawn alike in every process
        model = model.replace(policy=model.policy, sampling=config.sampling).resolved()
        check_trainable(model.built_policy, config, objective.beta)
        policy = trainable(model.built_policy)
        prepare(policy, config)
        claim(out, settings_of(model, dataset, config), accelerator)
        reference = reference_of(policy, config) if objective.beta > 0 else None
        optimizers = make_optimizers(policy.model, config.optimizer, config.lr, config.weight_decay)
        start = load_checkpoint(out / "checkpoint.pt", policy.model, optimizers)
        with Log(out, accelerator, start) as log:
            for step in range(start, config.steps):
                began = time.perf_counter()
                judged = judge(model, samples, config, step, accelerator)
                held = time.perf_counter()
                scale_rates(optimizers, warmup_then_decay(step, config.steps, config.warmup, decay=config.lr_decay))
                losses = update(policy, objective, reference, judged, config, accelerator)
                norm = descend(optimizers, trained(policy), config.grad_clip)
                row = {"step": step, **figures(judged, policy), **losses, "grad_norm": norm}
                row |= {"seconds/rollout": held - began, "seconds/update": time.perf_counter() - held}
                row["seconds/token"] = (held - began) / max(1, judged.tokens)
                row = log.add(row, judged if step % config.samples_every == 0 else None)
                if accelerator.is_main_process:
                    report(row)
                    if (step + 1) % config.save_every == 0 or step + 1 == config.steps:
                        save_checkpoint(out / "checkpoint.pt", policy.model, optimizers, step + 1)
        if accelerator.is_main_process:
            keep(model, out)
    accelerator.wait_for_everyone()
    return asked.replace(policy=spec_after(asked.policy, out))


def begin(
    dataset: Dataset | str | Mapping[str, Any], out: Path, config: TrainConfig
) -> tuple[TrainingObjective, Dataset, Any]:
    """Objective, dataset and accelerator; what cannot work is said here, before any model is loaded."""
    check_tracker(config.log_with)
    objective, samples = completed(build("objective", config.objective)), build("dataset", dataset)
    draw(samples, 1, 0, config.seed)  # no data or no truth
    check_writable(out)
    accelerator = make_accelerator(log_with=config.log_with, project_dir=str(out))
    if config.queries_per_step % accelerator.num_processes:
        raise InputError(
            f"queries_per_step={config.queries_per_step} must divide among {accelerator.num_processes} processes"
        )
    return objective, samples, accelerator


def judge(model: ReVSeg, dataset: Dataset, config: TrainConfig, step: int, accelerator: Any) -> Judged:
    """This process's share of the step's queries, `group_size` conversations each, scored."""
    samples = draw(dataset, config.queries_per_step, step, config.seed)
    mine = samples[accelerator.process_index :: accelerator.num_processes]
    policy = trainable(model.built_policy)
    policy.model.eval()
    model = model.replace(sampling=replace(model.sampling, seed=config.seed * 1_000_003 + step))
    size = max(1, policy.batch_size // config.group_size)
    groups = []
    for start in range(0, len(mine), size):  # all rounds of some, then of others: one batch's cache is held at a time
        with autocast(policy, config):
            groups += model.rollouts(mine[start : start + size], config.group_size)
        policy.forget()  # the cache is of weights that are about to change
    rollouts = [rollout for group in groups for rollout in group]
    truths = [
        sample.truth for sample in mine for _ in range(config.group_size) if sample.truth is not None
    ]  # see `draw`
    return Judged(rollouts, model.score_all(rollouts, truths), config.group_size)


def update(
    policy: TrainedPolicy,
    objective: TrainingObjective,
    reference: Reference | None,
    judged: Judged,
    config: TrainConfig,
    accelerator: Any,
) -> dict[str, float]:
    """Gradients of the whole batch's loss, micro-batch by micro-batch, summed over processes; figures to log.

    Losses are sums over the batch, everything else that an objective logs a mean over its tokens.
    """
    import torch

    policy.model.train()
    device = device_of(policy)
    rollouts = judged.rollouts
    old, mask = pad([sampled(rollout).to(device) for rollout in rollouts])
    batches = packs([policy.length(rollout) for rollout in rollouts], config.max_tokens_per_forward, judged.n)
    with autocast(policy, config):
        ref = None if reference is None else reference_scores(reference, rollouts, batches, old)
    penalty = objective.kl_penalty(old, ref, mask) if objective.kl_in_reward and ref is not None else None
    advantages, kept = advantages_of(objective, judged, mask, penalty, accelerator)
    truncated = torch.tensor([cut_off(rollout, policy.stops) for rollout in rollouts], device=device)
    mask = objective.mask_truncated(mask, truncated) & kept[:, None]
    counts = torch.tensor([objective.count(mask), float(mask.sum())], dtype=torch.float64, device=device)
    count, tokens = (max(1.0, total) for total in accelerator.reduce(counts, "sum").tolist())
    totals: dict[str, float] = {}
    for batch in batches:
        rows = torch.tensor(batch, device=device)
        with autocast(policy, config):
            asked = [rollouts[i] for i in batch]
            scores = policy.logprobs(asked, temperature=config.temperature)
            new, real = pad(checked.logprobs(policy, scores, asked))
        some = mask[rows, : new.shape[1]] & real
        width = new.shape[1]
        under = None if ref is None else ref[rows, :width]
        loss, logged = checked.loss(
            objective, objective.loss(new, old[rows, :width], under, advantages[rows], some, count=count)
        )
        loss.backward()
        share = some.sum().item() / tokens
        for name, value in {"loss": loss.item(), **logged}.items():
            totals[name] = totals.get(name, 0.0) + (value if name.endswith("loss") else value * share)
    if accelerator.num_processes > 1:
        sum_over_processes(trained(policy), accelerator)
        values = torch.tensor(list(totals.values()), dtype=torch.float64, device=device)
        totals = dict(zip(totals, accelerator.reduce(values, "sum").tolist(), strict=True))
    return totals if penalty is None else {**totals, "kl_penalty": penalty.mean().item()}


def advantages_of(
    objective: TrainingObjective, judged: Judged, mask: "torch.Tensor", penalty: "torch.Tensor | None", accelerator: Any
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
    found = objective.advantages(everywhere, lengths=long, weights=weights)
    advantages = checked.advantages(objective, found, tuple(everywhere.shape[:2]))
    kept = objective.keep_groups(everywhere)
    mine = slice(accelerator.process_index * len(rewards), (accelerator.process_index + 1) * len(rewards))
    return advantages[mine].reshape(-1).float(), kept[mine].repeat_interleave(judged.n)


def reference_scores(
    reference: Reference, rollouts: Sequence[Rollout], batches: Sequence[Sequence[int]], like: "torch.Tensor"
) -> "torch.Tensor":
    """[b s]: the reference's log-probs of every rollout, zeros beyond its tokens."""
    scores = like.new_zeros(like.shape)
    for batch in batches:
        for index, row in zip(batch, reference([rollouts[i] for i in batch]), strict=True):
            scores[index, : len(row)] = row
    return scores
