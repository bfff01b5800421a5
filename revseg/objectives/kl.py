"""Estimates of KL(pi || ref) from one sampled token: `(new, ref) [b, s]` log-probs to `[b, s]`.

With d = new - ref: k1 and k3 have the right expected value, k2 has the right expected gradient when it stands in the
loss (Schulman, "Approximating KL divergence"; verl's core_algos). `k1+` and `k3+` show the value of the one and carry
the gradient of the other.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

MAX_LOG_RATIO = 20.0  # exp beyond this overflows lower precisions; verl and EasyR1 clamp at the same place


def k1(new: "torch.Tensor", ref: "torch.Tensor") -> "torch.Tensor":
    """d: unbiased, of high variance, may be negative. As a loss its expected gradient is zero: meant for rewards."""
    return new - ref


def k2(new: "torch.Tensor", ref: "torch.Tensor") -> "torch.Tensor":
    """d^2 / 2: biased but low in variance; in the loss, the expected gradient is the KL's own."""
    return (new - ref).square() / 2


def k3(new: "torch.Tensor", ref: "torch.Tensor") -> "torch.Tensor":
    """exp(-d) + d - 1: unbiased, never negative, 0 only where both agree (GRPO's; verl's `low_var_kl`).

    -d is clamped to +-20 before exp. Unlike verl the result is not cut at 10, which would take the gradient from the
    very tokens that have strayed furthest.
    """
    back = (ref - new).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    return back.exp() - back - 1


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
