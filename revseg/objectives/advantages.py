"""Advantage estimators: `rewards [groups, n]` to `advantages [groups, n]`, larger for better rollouts.

A group is the n rollouts of one prompt. Estimators that compare within the group give exactly 0 where all rewards of a
group are equal. `lengths [groups, n]` are the numbers of generated tokens.
"""

from typing import TYPE_CHECKING

from revseg.errors import InputError

if TYPE_CHECKING:
    import torch


def grpo(rewards: "torch.Tensor", *, std_eps: float = 1e-6) -> "torch.Tensor":
    """(r - mean) / (std + eps) over the group, std with n - 1 (GRPO, arXiv 2402.03300; ReVSeg, Eq. 9)."""
    return _over(dr_grpo(rewards), rewards.std(1, keepdim=True) + std_eps)


def dr_grpo(rewards: "torch.Tensor") -> "torch.Tensor":
    """r - mean of the group, without the std, which overweights very easy and very hard prompts (arXiv 2503.20783)."""
    _check(rewards)
    return _centred(rewards, rewards.mean(1, keepdim=True))


def rloo(rewards: "torch.Tensor") -> "torch.Tensor":
    """r - mean of the others in the group: an unbiased baseline (arXiv 2402.14740)."""
    n = rewards.shape[1]
    return dr_grpo(rewards) * (n / (n - 1))


def reinforce_pp(
    rewards: "torch.Tensor", *, lengths: "torch.Tensor | None" = None, std_eps: float = 1e-6
) -> "torch.Tensor":
    """r whitened over the whole batch, whatever the groups (REINFORCE++, arXiv 2501.03262).

    Rewards come at the end and are not discounted, so every token's return is the reward. With `lengths` mean and
    variance are taken over tokens, as in verl; without, over rollouts.
    """
    _check(rewards, least=1)
    return _whiten(rewards, lengths, std_eps)


def reinforce_pp_baseline(
    rewards: "torch.Tensor", *, lengths: "torch.Tensor | None" = None, std_eps: float = 1e-6
) -> "torch.Tensor":
    """r - mean of the group, then whitened over the batch (REINFORCE++ with baseline, arXiv 2501.03262)."""
    return _whiten(dr_grpo(rewards), lengths, std_eps)


def lite_ppo(rewards: "torch.Tensor", *, std_eps: float = 1e-6) -> "torch.Tensor":
    """(r - mean of the group) / std of the batch (Lite PPO, arXiv 2508.08221; TRL's `scale_rewards="batch"`)."""
    return _over(dr_grpo(rewards), rewards.std() + std_eps)


def opo(rewards: "torch.Tensor", *, lengths: "torch.Tensor | None" = None) -> "torch.Tensor":
    """r - the length-weighted mean of the group, the baseline of least variance (OPO, arXiv 2505.23585)."""
    _check(rewards)
    if lengths is None:
        raise InputError("the advantage 'opo' weighs rewards by length: pass lengths=[groups, n], tokens per rollout")
    lengths = lengths.to(rewards.dtype)
    return _centred(rewards, (lengths * rewards).sum(1, keepdim=True) / lengths.sum(1, keepdim=True).clamp(min=1))


def gpg(rewards: "torch.Tensor") -> "torch.Tensor":
    """a (r - mean), with a = groups / groups whose rewards differ (GPG, arXiv 2504.02546).

    The factor compensates for groups without a gradient. (verl counts non-zero rewards instead of such groups.)
    """
    centred = dr_grpo(rewards)
    return centred * (len(rewards) / _spread(rewards).sum().clamp(min=1))


def pass_at_k(rewards: "torch.Tensor", *, std_eps: float = 1e-6) -> "torch.Tensor":
    """(best - second) / (std + eps) for the best rollout of the group, 0 for the others (arXiv 2503.19595)."""
    _check(rewards)
    best, where = rewards.topk(2, dim=1)
    gain = _over(best[:, :1] - best[:, 1:], rewards.std(1, keepdim=True) + std_eps)
    return rewards.new_zeros(rewards.shape).scatter(1, where[:, :1], gain)


def gdpo(
    rewards: "torch.Tensor",
    *,
    weights: "torch.Tensor | None" = None,
    lengths: "torch.Tensor | None" = None,
    std_eps: float = 1e-6,
) -> "torch.Tensor":
    """Each component normalised in its group, then their weighted sum whitened over the batch (GDPO, arXiv 2601.05242).

    `rewards [groups, n, components]` are the components before weighting, `weights [components]` their weights (1 by
    default); `[groups, n]` is one component. So rollouts with the same total of different components get different
    advantages.
    """
    rewards = rewards[..., None] if rewards.ndim == 2 else rewards
    if rewards.ndim != 3:
        raise InputError(f"'gdpo' weighs components: expected rewards [groups, n, components], got {_shape(rewards)}")
    parts = [grpo(part, std_eps=std_eps) for part in rewards.unbind(2)]
    scales = [1.0] * len(parts) if weights is None else weights.to(rewards)
    if len(scales) != len(parts):
        raise InputError(f"expected one weight per component, got {len(scales)} for {len(parts)}")
    total = sum((scale * part for scale, part in zip(scales, parts, strict=True)), rewards.new_zeros(rewards.shape[:2]))
    return _whiten(total, lengths, std_eps)


ADVANTAGES = {
    f.__name__: f
    for f in (grpo, dr_grpo, rloo, reinforce_pp, reinforce_pp_baseline, lite_ppo, opo, gpg, pass_at_k, gdpo)
}


def _whiten(values: "torch.Tensor", lengths: "torch.Tensor | None", std_eps: float) -> "torch.Tensor":
    """(x - mean) / (std + eps) over all values; with lengths, each value counts that many times."""
    weight = values.new_ones(values.shape) if lengths is None else lengths.to(values.dtype)
    mean = (weight * values).sum() / weight.sum().clamp(min=1)
    centred = values - mean if values.amax() > values.amin() else values.new_zeros(values.shape)
    variance = (weight * centred.square()).sum() / (weight.sum() - 1).clamp(min=1)
    return _over(centred, variance.sqrt() + std_eps)


def _over(values: "torch.Tensor", scale: "torch.Tensor") -> "torch.Tensor":
    """values / scale; where the scale is 0 (all rewards equal, eps 0) the values, which are then 0."""
    return values / scale.masked_fill(scale == 0, 1)


def _centred(rewards: "torch.Tensor", baseline: "torch.Tensor") -> "torch.Tensor":
    # exactly 0 for equal rewards, because the rounding error of the mean divided by a tiny eps would be a gradient
    return (rewards - baseline) * _spread(rewards)


def _spread(rewards: "torch.Tensor") -> "torch.Tensor":
    """bool[groups, 1]: True where the rewards of a group differ."""
    return rewards.amax(1, keepdim=True) > rewards.amin(1, keepdim=True)


def _check(rewards: "torch.Tensor", least: int = 2) -> None:
    if rewards.ndim != 2 or rewards.shape[1] < least:
        raise InputError(f"expected rewards [groups, n] with n at least {least}, got {_shape(rewards)}")


def _shape(tensor: "torch.Tensor") -> list[int]:
    return list(tensor.shape)
