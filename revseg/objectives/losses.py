"""Policy losses, per token: `(new, old, advantages, mask) -> (loss [b, s], clipped bool[b, s])`, to be minimised.

`new` and `old` [b, s] are log-probs of the sampled tokens under the policy and under the one that sampled them,
`advantages` [b, 1], `mask` bool[b, s]; the caller ignores values where the mask is False. `clipped` marks tokens whose
gradient a clip has removed. Notation: rho = pi / pi_old, A the advantage. On-policy (rho = 1) every loss here has the
gradient of REINFORCE; they differ off-policy.
"""

from typing import TYPE_CHECKING

from revseg.objectives.kl import MAX_LOG_RATIO

if TYPE_CHECKING:
    import torch


def ppo_clip(
    new: "torch.Tensor",
    old: "torch.Tensor",
    advantages: "torch.Tensor",
    mask: "torch.Tensor",
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    delta: float | None = None,
    dual_clip: float | None = None,
) -> "tuple[torch.Tensor, torch.Tensor]":
    """-min(rho A, clip(rho, 1 - low, 1 + high) A) (PPO, arXiv 1707.06347; DAPO's decoupled clip is 0.2 and 0.28).

    `delta` caps rho in the unclipped branch (INTELLECT-2, arXiv 2505.07291), `dual_clip` bounds the loss of a negative
    advantage by -dual_clip * A (arXiv 1912.09729; verl uses 3). Both limit rho >> 1 with A < 0; off by default.
    """
    rho = ratio(new, old)
    capped = rho if delta is None else rho.clamp(max=delta)
    return _clip(capped, rho.clamp(1 - clip_low, 1 + clip_high), advantages, dual_clip)


def gspo(
    new: "torch.Tensor",
    old: "torch.Tensor",
    advantages: "torch.Tensor",
    mask: "torch.Tensor",
    *,
    clip_low: float = 3e-4,
    clip_high: float = 4e-4,
) -> "tuple[torch.Tensor, torch.Tensor]":
    """PPO's clip on the ratio of the sequence, s = exp(mean of log rho), for all its tokens (arXiv 2507.18071).

    To be used with the aggregation `seq_mean_token_mean`; with `seq_mean_token_sum` it is LUSPO (arXiv 2602.05261).
    """
    s = (_mean(_log_ratio(new, old), mask)).exp().expand_as(new)
    return _clip(s, s.clamp(1 - clip_low, 1 + clip_high), advantages)


def gmpo(
    new: "torch.Tensor",
    old: "torch.Tensor",
    advantages: "torch.Tensor",
    mask: "torch.Tensor",
    *,
    clip_low: float = 0.4,
    clip_high: float = 0.4,
) -> "tuple[torch.Tensor, torch.Tensor]":
    """-A times the geometric mean of the clipped token ratios; the clip is on log rho (GMPO, arXiv 2507.20673)."""
    log_rho = _log_ratio(new, old)
    limited = log_rho.clamp(-clip_low, clip_high)
    kept = log_rho.minimum(limited).where(advantages > 0, log_rho.maximum(limited))
    return -advantages * _mean(kept, mask).exp().expand_as(new), kept != log_rho


def cispo(
    new: "torch.Tensor",
    old: "torch.Tensor",
    advantages: "torch.Tensor",
    mask: "torch.Tensor",
    *,
    clip_low: float = 1.0,
    clip_high: float = 4.0,
) -> "tuple[torch.Tensor, torch.Tensor]":
    """-sg(clip(rho, 1 - low, 1 + high)) A log pi: every token keeps its gradient (CISPO, arXiv 2506.13585).

    The defaults have no lower clip, as in the paper, and cap rho at 5 (ScaleRL; TRL's `epsilon_high=5`).
    """
    weight = ratio(new, old).clamp(1 - clip_low, 1 + clip_high).detach()
    return -weight * advantages * new, mask.new_zeros(mask.shape)


def sapo(
    new: "torch.Tensor",
    old: "torch.Tensor",
    advantages: "torch.Tensor",
    mask: "torch.Tensor",
    *,
    tau_positive: float = 1.0,
    tau_negative: float = 1.05,
) -> "tuple[torch.Tensor, torch.Tensor]":
    """-A (4 / tau) sigmoid(tau (rho - 1)): a soft gate instead of the clip (SAPO, arXiv 2511.20347)."""
    tau = advantages.new_full((), tau_positive).where(advantages > 0, advantages.new_full((), tau_negative))
    return -advantages * (4 / tau) * (tau * (ratio(new, old) - 1)).sigmoid(), mask.new_zeros(mask.shape)


def dro(
    new: "torch.Tensor",
    old: "torch.Tensor",
    advantages: "torch.Tensor",
    mask: "torch.Tensor",
    *,
    dro_beta: float = 0.1,
) -> "tuple[torch.Tensor, torch.Tensor]":
    """-(A log pi - (beta / 2) (log rho)^2): no ratio, but a quadratic penalty on log rho (DRO, arXiv 2405.19107)."""
    return -(advantages * new - dro_beta / 2 * (new - old).square()), mask.new_zeros(mask.shape)


def reinforce(
    new: "torch.Tensor", old: "torch.Tensor", advantages: "torch.Tensor", mask: "torch.Tensor"
) -> "tuple[torch.Tensor, torch.Tensor]":
    """-A log pi: for samples of the current policy only (Williams, 1992; GPG, arXiv 2504.02546)."""
    return -advantages * new, mask.new_zeros(mask.shape)


LOSSES = {f.__name__: f for f in (ppo_clip, gspo, gmpo, cispo, sapo, dro, reinforce)}


def ratio(new: "torch.Tensor", old: "torch.Tensor") -> "torch.Tensor":
    """rho [b, s], with log rho clamped to +-20."""
    return _log_ratio(new, old).exp()


def _log_ratio(new: "torch.Tensor", old: "torch.Tensor") -> "torch.Tensor":
    return (new - old).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)


def _mean(values: "torch.Tensor", mask: "torch.Tensor") -> "torch.Tensor":
    """[b, 1]: the mean over the tokens of each row."""
    return values.masked_fill(~mask, 0).sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)


def _clip(
    free: "torch.Tensor", limited: "torch.Tensor", advantages: "torch.Tensor", dual_clip: float | None = None
) -> "tuple[torch.Tensor, torch.Tensor]":
    loss = -(free * advantages).minimum(limited * advantages)
    clipped = limited * advantages < free * advantages
    if dual_clip is not None:
        bound = -dual_clip * advantages
        bounded = (advantages < 0) & (loss > bound)
        loss, clipped = bound.where(bounded, loss), clipped | bounded
    return loss, clipped
