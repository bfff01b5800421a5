"""An objective of four pieces: advantage estimator, policy loss, KL estimate and aggregation."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from revseg.errors import InputError, SpecError
from revseg.objectives.advantages import ADVANTAGES
from revseg.objectives.aggregation import AGGREGATIONS, Aggregation
from revseg.objectives.kl import KL
from revseg.objectives.losses import LOSSES, ratio
from revseg.registry import options_of

if TYPE_CHECKING:
    import torch

Piece = str | Callable[..., Any]


@dataclass(frozen=True)
class Objective:
    """Four pieces and their options. The defaults are the paper's GRPO (ReVSeg, Eq. 9 and 10).

    A piece is a name in its module's table, or a function with the same signature. Its keyword-only options get the
    values of the fields with the same names; None means the loss's own default.
    """

    advantage: Piece = "grpo"  # advantages.ADVANTAGES
    policy_loss: Piece = "ppo_clip"  # losses.LOSSES
    kl: Piece = "k3"  # kl.KL
    aggregation: str | Aggregation = "seq_mean_token_mean"  # aggregation.AGGREGATIONS
    beta: float = 1e-3  # weight of the KL to the reference policy; 0 needs no reference
    kl_place: str = "loss"  # or "reward": subtracted from the reward before the advantages, see kl_penalty
    kl_unbiased: bool = False  # weigh the KL by the importance ratio when off-policy (DeepSeek-V3.2)
    clip_low: float | None = None
    clip_high: float | None = None
    delta: float | None = None
    dual_clip: float | None = None
    std_eps: float = 1e-6
    max_length: int = 1024  # the constant of seq_mean_token_sum_norm
    dynamic_sampling: bool = False  # leave out groups with equal rewards, see keep_groups
    overlong_filter: bool = False  # no loss on replies cut off at the length limit, see mask_truncated
    weigh_components: bool = False  # advantages takes rewards [groups, n, components]; always so for gdpo

    def __post_init__(self) -> None:
        for field, table in _TABLES.items():
            piece = getattr(self, field)
            if isinstance(piece, str) and piece not in table:
                raise SpecError(f"unknown {field} {piece!r}: expected one of {', '.join(table)}")
        if self.kl_place not in ("loss", "reward"):
            raise SpecError(f"kl_place: expected 'loss' or 'reward', got {self.kl_place!r}")
        if not (math.isfinite(self.beta) and self.beta >= 0 and self.std_eps >= 0 and self.max_length > 0):
            raise SpecError("expected beta >= 0, std_eps >= 0 and max_length > 0")
        if self.advantage == "gdpo":
            object.__setattr__(self, "weigh_components", True)
        if self.weigh_components and self.kl_in_reward:
            raise SpecError("kl_place='reward' with components is not defined: the KL would be normalised away")

    @property
    def kl_in_reward(self) -> bool:
        """True when the trainer has to subtract `kl_penalty` from the rewards."""
        return self.kl_place == "reward" and self.beta > 0

    def advantages(
        self,
        rewards: "torch.Tensor",
        *,
        lengths: "torch.Tensor | None" = None,
        weights: "torch.Tensor | None" = None,
    ) -> "torch.Tensor":
        """`rewards [groups, n]`, or `[groups, n, components]` with `weigh_components`, to `[groups, n]`.

        `lengths [groups, n]` (generated tokens) and `weights [components]` are passed to estimators that take them.
        Raises InputError for another shape, or for groups too small to compare.
        """
        return _bound(self._piece("advantage"), {**vars(self), "lengths": lengths, "weights": weights})(rewards)

    def kl_penalty(self, old: "torch.Tensor", ref: "torch.Tensor", mask: "torch.Tensor") -> "torch.Tensor":
        """[b]: what to subtract from the rewards when `kl_in_reward`: beta times the KL summed over tokens."""
        mask = mask.bool()
        values = self._piece("kl")(old.masked_fill(~mask, 0), ref.masked_fill(~mask, 0))
        return self.beta * values.masked_fill(~mask, 0).sum(1).detach()

    def loss(
        self,
        new: "torch.Tensor",
        old: "torch.Tensor",
        ref: "torch.Tensor | None",
        advantages: "torch.Tensor",
        mask: "torch.Tensor",
        *,
        count: float | None = None,
    ) -> "tuple[torch.Tensor, dict[str, float]]":
        """A scalar to minimise, and figures to log.

        `new`, `old`, `ref` [b, s] are log-probs of the sampled tokens (`old` under the policy that sampled them, `ref`
        None without a KL in the loss), `advantages` [b], `mask` [b, s] True on generated tokens. Values at other tokens
        change neither the loss nor a gradient. `count` is `count(mask)` of the whole batch: with it the losses of
        micro-batches add up to that of the batch (under DDP, which averages, times the number of processes).
        """
        mask = mask.bool()
        _check(new, old, ref, advantages, mask)
        new, old = _clean(new, mask), _clean(old, mask).detach()
        column = advantages.detach().to(new)[:, None]
        values, clipped = _bound(self._piece("policy_loss"), vars(self))(new, old, column, mask)
        figures = {"policy_loss": self._aggregate(values, mask, count).item(), "clip_fraction": _mean(clipped, mask)}
        if self.beta > 0 and self.kl_place == "loss":
            if ref is None:
                raise InputError(f"beta={self.beta:g} needs the reference's log-probs; pass ref, or set beta=0")
            kl = self._piece("kl")(new, _clean(ref, mask).detach())
            kl = kl * ratio(new, old) if self.kl_unbiased else kl
            values = values + self.beta * kl
            figures["kl"] = _mean(kl, mask)
        figures["ratio"] = _mean(ratio(new, old), mask)
        return self._aggregate(values, mask, count), figures

    def count(self, mask: "torch.Tensor") -> float:
        """The divisor of `loss` for a batch with this mask: the number of tokens or of sequences, or 1."""
        count = self._piece("aggregation").count
        return 1.0 if count is None else float(count(mask.bool()))

    def keep_groups(self, rewards: "torch.Tensor") -> "torch.Tensor":
        """bool[groups]: the groups to learn from; with `dynamic_sampling` those whose rewards differ (DAPO)."""
        rewards = rewards[..., None] if rewards.ndim == 2 else rewards
        spread = (rewards.amax(1) > rewards.amin(1)).any(1)
        return spread if self.dynamic_sampling else spread | True

    def mask_truncated(self, mask: "torch.Tensor", truncated: "torch.Tensor") -> "torch.Tensor":
        """`mask` [b, s]; with `overlong_filter` False on the rows that `truncated` bool[b] marks."""
        return mask.bool() & ~truncated.bool()[:, None] if self.overlong_filter else mask.bool()

    def _piece(self, field: str) -> Any:
        piece = getattr(self, field)
        return _TABLES[field][piece] if isinstance(piece, str) else piece

    def _aggregate(self, values: "torch.Tensor", mask: "torch.Tensor", count: float | None) -> "torch.Tensor":
        return self._piece("aggregation")(values, mask, count=count, max_length=self.max_length)


_TABLES: Mapping[str, Mapping[str, Any]] = {
    "advantage": ADVANTAGES,
    "policy_loss": LOSSES,
    "kl": KL,
    "aggregation": AGGREGATIONS,
}


def _bound(piece: Callable[..., Any], values: Mapping[str, Any]) -> Callable[..., Any]:
    """The piece, with values for those of its options that are in `values`."""
    options = {name: values[name] for name in options_of(piece) if values.get(name) is not None}
    fixed = piece.keywords if isinstance(piece, partial) else {}
    return partial(piece, **{name: value for name, value in options.items() if name not in fixed})


def _clean(logprobs: "torch.Tensor", mask: "torch.Tensor") -> "torch.Tensor":
    """At least float32, and 0 where the mask is False, so that a NaN there reaches neither loss nor gradient."""
    return (logprobs.float() if logprobs.dtype.itemsize < 4 else logprobs).masked_fill(~mask, 0)


def _mean(values: "torch.Tensor", mask: "torch.Tensor") -> float:
    return float(values.detach().masked_fill(~mask, 0).sum() / mask.sum().clamp(min=1))


def _check(
    new: "torch.Tensor",
    old: "torch.Tensor",
    ref: "torch.Tensor | None",
    advantages: "torch.Tensor",
    mask: "torch.Tensor",
) -> None:
    shapes = {"old": old, "mask": mask} | ({} if ref is None else {"ref": ref})
    for name, tensor in shapes.items():
        if tensor.shape != new.shape:
            raise InputError(f"expected {name} of new's shape {list(new.shape)}, got {list(tensor.shape)}")
    if new.ndim != 2 or advantages.shape != new.shape[:1]:
        raise InputError(f"expected new [b, s], advantages [b]; got {list(new.shape)}, {list(advantages.shape)}")
