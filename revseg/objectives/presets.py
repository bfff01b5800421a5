"""Named objectives, each defined by its differences from the paper's GRPO."""

from dataclasses import dataclass

from revseg.objectives.aggregation import Aggregation
from revseg.objectives.objective import Objective, Piece
from revseg.registry import register


@register("objective", "grpo")
@dataclass(frozen=True)
class GRPO(Objective):
    """The paper's: advantages divided by the group's std, KL k3 in the loss at 1e-3, sequence mean of token means.

    Strictly on-policy the ratio is 1 and the clip has no effect; it acts when a batch is used for several steps.
    """


@register("objective", "dr_grpo")
@dataclass(frozen=True)
class DrGRPO(Objective):
    """Advantages without the std, sums over a constant length instead of the reply's, no KL (arXiv 2503.20783)."""

    advantage: Piece = "dr_grpo"
    aggregation: str | Aggregation = "seq_mean_token_sum_norm"
    beta: float = 0.0


@register("objective", "rloo")
@dataclass(frozen=True)
class RLOO(Objective):
    """REINFORCE with a leave-one-out baseline, a reply as one action, KL k1 in the reward (arXiv 2402.14740)."""

    advantage: Piece = "rloo"
    policy_loss: Piece = "reinforce"
    kl: Piece = "k1"
    kl_place: str = "reward"
    aggregation: str | Aggregation = "seq_mean_token_sum"


@register("objective", "reinforce_pp")
@dataclass(frozen=True)
class ReinforcePP(Objective):
    """Advantages whitened over the batch instead of the group, KL k1 in the reward (arXiv 2501.03262)."""

    advantage: Piece = "reinforce_pp"
    kl: Piece = "k1"
    kl_place: str = "reward"
    aggregation: str | Aggregation = "token_mean"


@register("objective", "gdpo")
@dataclass(frozen=True)
class GDPO(Objective):
    """Each component of the reward normalised separately, then summed and whitened (arXiv 2601.05242)."""

    advantage: Piece = "gdpo"


@register("objective", "dapo")
@dataclass(frozen=True)
class DAPO(Objective):
    """Higher upper clip, token mean, groups with equal rewards left out, no KL (arXiv 2503.14476).

    Its penalty for long replies is the reward `overlong`.
    """

    aggregation: str | Aggregation = "token_mean"
    beta: float = 0.0
    clip_low: float | None = 0.2
    clip_high: float | None = 0.28
    dynamic_sampling: bool = True


@register("objective", "gspo")
@dataclass(frozen=True)
class GSPO(Objective):
    """Importance ratio and clip of whole sequences instead of tokens, no KL (arXiv 2507.18071)."""

    policy_loss: Piece = "gspo"
    beta: float = 0.0


@register("objective", "cispo")
@dataclass(frozen=True)
class CISPO(Objective):
    """Clips the importance weight of a token but keeps its gradient; token mean, no KL (arXiv 2506.13585)."""

    policy_loss: Piece = "cispo"
    aggregation: str | Aggregation = "token_mean"
    beta: float = 0.0


@register("objective", "gpg")
@dataclass(frozen=True)
class GPG(Objective):
    """Policy gradient on centred rewards, scaled up for groups without a gradient, no KL (arXiv 2504.02546)."""

    advantage: Piece = "gpg"
    policy_loss: Piece = "reinforce"
    aggregation: str | Aggregation = "token_mean"
    beta: float = 0.0
