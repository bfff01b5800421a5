"""Estimates of KL(pi || ref) from one sampled token: `(new, ref) [b, s]` log-probs to `[b, s]`.

With d = new - ref: k1 and k3 are unbiased estimates of the value; k2 in the loss gives an unbiased gradient (Schulman,
"Approximating KL divergence"; verl's core_algos). `k1+` and `k3+` have the value of k1 and k3 and the gradient of k2.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

MAX_LOG_RATIO = 20.0  # larger ones overflow in low precision; verl and EasyR1 clamp to the same


def k1(new: "torch.Tensor", ref: "torch.Tensor") -> "torch.Tensor":
    """d: unbiased, high variance, may be negative. For use in rewards: in the loss its expected gradient is zero."""
    return new - ref


def k2(new: "torch.Tensor", ref: "torch.Tensor") -> "torch.Tensor":
    """d^2 / 2: biased, low variance; in the loss its expected gradient is that of the KL."""
    return (new - ref).square() / 2


def k3(new: "torch.Tensor", ref: "torch.Tensor") -> "torch.Tensor":
    """exp(-d) + d - 1: unbiased, never negative, 0 only where both agree (as in GRPO; verl's `low_var_kl`).

    -d is clamped to +-20 before exp. Unlike in verl the result is not clamped to 10, which would remove the gradient of
    the tokens that differ most.
    """
    log_ratio = (ref - new).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    return log_ratio.exp() - log_ratio - 1


def absolute(new: "torch.Tensor", ref: "torch.Tensor") -> "torch.Tensor":
    """|d|: verl's `abs`."""
    return (new - ref).abs()


def k1_plus(new: "torch.Tensor", ref: "torch.Tensor") -> "torch.Tensor":
    """k1's value with k2's gradient."""
    return _with_k2_gradient(k1(new, ref), new, ref)


def k3_plus(new: "torch.Tensor", ref: "torch.Tensor") -> "torch.Tensor":
    """k3's value with k2's gradient."""
    return _with_k2_gradient(k3(new, ref), new, ref)


KL = {"k1": k1, "k2": k2, "k3": k3, "abs": absolute, "k1+": k1_plus, "k3+": k3_plus}


def _with_k2_gradient(value: "torch.Tensor", new: "torch.Tensor", ref: "torch.Tensor") -> "torch.Tensor":
    carrier = k2(new, ref)
    return value.detach() + (carrier - carrier.detach())
