"""From a step's judged rollouts to gradients: advantages once, then the loss, micro-batch by micro-batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from revseg import checked
from revseg.training.config import TrainConfig
from revseg.training.optimizers import sum_over_processes
from revseg.training.prepare import autocast, trained
from revseg.training.reference import Reference
from revseg.training.rollouts import Judged, cut_off, packs, pad, sampled
from revseg.training.trainable import device_of
from revseg.types import Rollout, TrainedPolicy, TrainingObjective

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Batch:
    """What every update on a step's rollouts shares: `b` rollouts of this process, `s` sampled tokens of the longest.

    `count` is what the loss divides by and `tokens` the number of tokens learned from, both over all processes.
    """

    rollouts: list[Rollout]
    micro_batches: list[list[int]]
    old: "torch.Tensor"  # float[b s]: log-probs that the tokens were drawn with
    ref: "torch.Tensor | None"  # float[b s]: log-probs under the reference
    advantages: "torch.Tensor"  # float[b]
    mask: "torch.Tensor"  # bool[b s]: tokens to learn from
    count: float
    tokens: float
    penalty: "torch.Tensor | None"  # float[b]: the KL that was subtracted from the rewards


def update(
    policy: TrainedPolicy,
    objective: TrainingObjective,
    reference: Reference | None,
    judged: Judged,
    config: TrainConfig,
    accelerator: Any,
) -> dict[str, float]:
    """Gradients of the loss of a whole step, left in the weights' `grad`; figures to log."""
    return gradients(
        policy, objective, batch_of(policy, objective, reference, judged, config, accelerator), config, accelerator
    )


def batch_of(
    policy: TrainedPolicy,
    objective: TrainingObjective,
    reference: Reference | None,
    judged: Judged,
    config: TrainConfig,
    accelerator: Any,
) -> Batch:
    """A step's rollouts with advantages and reference log-probs, ready for one or several updates."""
    import torch

    policy.model.train()
    device, rollouts = device_of(policy), judged.rollouts
    old, mask = pad([sampled(rollout).to(device) for rollout in rollouts])
    parts = packs([policy.length(rollout) for rollout in rollouts], config.max_tokens_per_forward, judged.n)
    with autocast(policy, config):
        ref = None if reference is None else reference_scores(reference, rollouts, parts, old)
    penalty = objective.kl_penalty(old, ref, mask) if objective.kl_in_reward and ref is not None else None
    advantages, kept = advantages_of(objective, judged, mask, penalty, accelerator)
    truncated = torch.tensor([cut_off(rollout, policy.stops) for rollout in rollouts], device=device)
    mask = objective.mask_truncated(mask, truncated) & kept[:, None]
    counts = torch.tensor([objective.count(mask), float(mask.sum())], dtype=torch.float64, device=device)
    count, tokens = (max(1.0, total) for total in accelerator.reduce(counts, "sum").tolist())
    return Batch(rollouts, parts, old, ref, advantages, mask, count, tokens, penalty)


def gradients(
    policy: TrainedPolicy, objective: TrainingObjective, batch: Batch, config: TrainConfig, accelerator: Any
) -> dict[str, float]:
    """Gradients of the whole batch's loss under the weights as they are, summed over processes; figures to log.

    Losses are sums over the batch, everything else that an objective logs is a mean over its tokens.
    """
    import torch

    device = device_of(policy)
    totals: dict[str, float] = {}
    for part in batch.micro_batches:
        loss, logged, tokens = micro_loss(policy, objective, batch, part, config)
        loss.backward()
        share = tokens / batch.tokens
        for name, value in {"loss": loss.item(), **logged}.items():
            totals[name] = totals.get(name, 0.0) + (value if name.endswith("loss") else value * share)
    if accelerator.num_processes > 1:
        sum_over_processes(trained(policy), accelerator)
        values = torch.tensor(list(totals.values()), dtype=torch.float64, device=device)
        totals = dict(zip(totals, accelerator.reduce(values, "sum").tolist(), strict=True))
    return totals if batch.penalty is None else {**totals, "kl_penalty": batch.penalty.mean().item()}


def micro_loss(
    policy: TrainedPolicy, objective: TrainingObjective, batch: Batch, part: Sequence[int], config: TrainConfig
) -> "tuple[torch.Tensor, dict[str, float], float]":
    """The loss of the rollouts `part`, the objective's figures, and the number of tokens learned from."""
    import torch

    rows = torch.tensor(part, device=batch.old.device)
    with autocast(policy, config):
        asked = [batch.rollouts[i] for i in part]
        scores = policy.logprobs(asked, temperature=config.temperature)
        new, real = pad(checked.logprobs(policy, scores, asked))
    width = new.shape[1]
    mask = batch.mask[rows, :width] & real
    ref = None if batch.ref is None else batch.ref[rows, :width]
    found = objective.loss(new, batch.old[rows, :width], ref, batch.advantages[rows], mask, count=batch.count)
    loss, logged = checked.loss(objective, found)
    return loss, logged, mask.sum().item()


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
    reference: Reference, rollouts: Sequence[Rollout], micro_batches: Sequence[Sequence[int]], like: "torch.Tensor"
) -> "torch.Tensor":
    """[b s]: the reference's log-probs of every rollout, zeros beyond its tokens."""
    scores = like.new_zeros(like.shape)
    for part in micro_batches:
        for index, row in zip(part, reference([rollouts[i] for i in part]), strict=True):
            scores[index, : len(row)] = row
    return scores
