"""What one training step works on: queries drawn, conversations with their rewards, and their tensors."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from revseg import checked
from revseg.errors import InputError
from revseg.types import Dataset, RewardBreakdown, Rollout, Sample, TrainedPolicy

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Judged:
    """Rollouts in order, group after group of `n`, with their rewards."""

    rollouts: list[Rollout]
    rewards: list[RewardBreakdown]
    n: int

    @property
    def totals(self) -> np.ndarray:
        """float64[groups n]: the weighted sums."""
        return np.array([r.total for r in self.rewards]).reshape(-1, self.n)

    @property
    def names(self) -> list[str]:
        """The rewards that judged any of the rollouts, in order."""
        return list(dict.fromkeys(name for row in self.rewards for name in row.values))

    @property
    def components(self) -> np.ndarray:
        """float64[groups n c]: each reward, unweighted.

        A rollout that a reward left unjudged gets the mean of its group there, which moves it neither way; 0 where the
        reward judged none of the group.
        """
        rows = [[row.values.get(name, math.nan) for name in self.names] for row in self.rewards]
        values = np.array(rows).reshape(-1, self.n, len(self.names))
        known = ~np.isnan(values)
        means = np.where(known, values, 0).sum(1, keepdims=True) / np.maximum(known.sum(1, keepdims=True), 1)
        return np.where(known, values, means)

    @property
    def weights(self) -> np.ndarray:
        """float64[c]."""
        weights = {name: weight for row in self.rewards for name, weight in row.weights.items()}
        return np.array([weights[name] for name in self.names])

    @property
    def tokens(self) -> int:
        """Generated tokens, of all rollouts and rounds."""
        return sum(len(turn.reply.token_ids) for rollout in self.rollouts for turn in rollout.turns)


def drawn(size: int, count: int, step: int, seed: int) -> list[int]:
    """Which of `size` samples a step draws: every one once per epoch, in an order that (seed, epoch) decides.

    It depends on its arguments alone, so that a resumed run draws the same samples.
    """
    if size == 0:
        raise InputError("the dataset is empty: nothing to train on")
    epochs = (divmod(place, size) for place in range(step * count, (step + 1) * count))
    return [int(_order(seed, epoch, size)[place]) for epoch, place in epochs]


def draw(dataset: Dataset, count: int, step: int, seed: int) -> list[Sample]:
    """The samples of a step (`drawn`), each with its truth."""
    return [with_truth(dataset, index) for index in drawn(len(dataset), count, step, seed)]


def with_truth(dataset: Dataset, index: int) -> Sample:
    """A sample to train on. InputError when it has no truth, or one that is not of its video."""
    sample = checked.sample(dataset, dataset[index], index)
    checked.truth(sample.truth, sample.video, sample.query)
    if sample.truth is None:
        raise InputError(f"query {sample.query.id!r} has no truth: training needs masks to reward against")
    return sample


@functools.lru_cache(maxsize=2)  # a step may end one epoch and begin the next
def _order(seed: int, epoch: int, size: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(size)


def pad(rows: "Sequence[torch.Tensor]") -> "tuple[torch.Tensor, torch.Tensor]":
    """Ragged float[n] rows as [b s], zeros on the right, and bool[b s] where they are real."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    lengths = torch.tensor([len(row) for row in rows], device=rows[0].device)
    values = pad_sequence(list(rows), batch_first=True)
    return values, torch.arange(values.shape[1], device=values.device) < lengths[:, None]


def sampled(rollout: Rollout) -> "torch.Tensor":
    """float32[n]: the log-probs that the rollout's tokens were drawn with, every round in order."""
    import torch

    return torch.from_numpy(np.concatenate([turn.reply.logprobs for turn in rollout.turns]))


def cut_off(rollout: Rollout, stops: Sequence[int] | None) -> bool:
    """True when a reply ended at the token limit, judged by its last token, or without `stops` by `Reply.cut_off`."""
    if stops is None:
        return any(turn.reply.cut_off for turn in rollout.turns)
    ends = [t.reply.token_ids[-1] for t in rollout.turns if len(t.reply.token_ids)]
    return any(int(end) not in stops for end in ends)


def packs(lengths: Sequence[int], budget: int, n: int = 1) -> list[list[int]]:
    """Indices in micro-batches of similar lengths, each of at most `budget` tokens with padding, or of one row.

    A group's `n` rows are kept together, because a policy reads their shared prefix once per micro-batch.
    """
    longest = [max(lengths[i : i + n]) for i in range(0, len(lengths), n)]
    found: list[list[int]] = []
    widest = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-longest[i // n], i // n, -lengths[i])):
        wide = max(widest, lengths[index])
        if found and wide * (len(found[-1]) + 1) <= budget:
            found[-1].append(index)
            widest = wide
        else:
            found.append([index])
            widest = lengths[index]
    return found


def figures(judged: Judged, policy: TrainedPolicy) -> dict[str, float]:
    """A log's figures of a step's rollouts: rewards, lengths, turns, failures by kind, groups of equal rewards."""
    count = len(judged.rollouts)
    row = {"reward": float(judged.totals.mean()), "reward_std": float(judged.totals.std(1).mean())}
    for name in judged.names:
        row[f"reward/{name}"] = float(np.mean([r.values[name] for r in judged.rewards if name in r.values]))
    row |= {"tokens": judged.tokens / count, "turns": float(np.mean([len(r.turns) for r in judged.rollouts]))}
    row["entropy"] = -float(np.concatenate([t.reply.logprobs for r in judged.rollouts for t in r.turns]).mean())
    row["cut_off"] = sum(cut_off(r, policy.stops) for r in judged.rollouts) / count
    row["flat_groups"] = float((np.ptp(judged.totals, 1) == 0).mean())
    row["absent"] = sum(r.status == "absent" for r in judged.rollouts) / count
    for kind in sorted({r.error for r in judged.rollouts if r.error is not None}):
        row[f"failed/{kind}"] = sum(r.error == kind for r in judged.rollouts) / count
    return row
