"""The contract of an objective."""

from typing import TYPE_CHECKING, Any

from revseg.errors import InputError
from revseg.registry import build
from revseg.testing.running import expect
from revseg.types import Objective

if TYPE_CHECKING:
    import torch


def check_objective(objective: Any) -> None:
    """Checks that equal rewards give zero advantages, masked tokens have no effect, and loss and gradient are finite.

    Tried on groups of four with rewards in [0, 1], on-policy and off-policy, with and without a reference model. An
    objective that needs a reference may raise an InputError without one.
    """
    import torch

    built: Objective = build("objective", objective)
    draw = torch.Generator().manual_seed(0)
    _check_advantages(objective, built, torch.rand(3, 4, generator=draw))
    for on_policy in (True, False):
        for with_ref in (True, False):
            _check_loss(objective, built, draw, on_policy, with_ref)


def _check_advantages(name: Any, objective: Objective, rewards: "torch.Tensor") -> None:
    import torch

    for value in (0.0, 0.5, 1.0):
        flat = objective.advantages(torch.full_like(rewards, value))
        expect(not flat.any(), f"{name!r}: groups of equal rewards {value} have the advantages {flat}; expected zeros")
    found = objective.advantages(rewards)
    expect(
        found.shape == rewards.shape, f"{name!r}: advantages of shape {tuple(found.shape)} for {tuple(rewards.shape)}"
    )
    expect(bool(found.isfinite().all()), f"{name!r}: advantages {found} for {rewards}; expected finite numbers")


def _check_loss(name: Any, objective: Objective, draw: "torch.Generator", on_policy: bool, with_ref: bool) -> None:
    import torch

    new = -torch.rand(4, 6, generator=draw)
    old = new.clone() if on_policy else new + 0.1 * torch.randn(4, 6, generator=draw)
    ref = new + 0.1 * torch.randn(4, 6, generator=draw) if with_ref else None
    advantages = torch.tensor([1.0, -1.0, 0.5, -0.5])
    mask = torch.arange(6) < torch.tensor([[6], [4], [3], [1]])
    what = f"{name!r}, {'on' if on_policy else 'off'} policy, {'with' if with_ref else 'without'} a reference"

    if ref is None:
        try:
            objective.loss(new, old, None, advantages, mask)
        except InputError:
            return

    def evaluate(hidden: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss and gradient with this log-prob at the masked tokens."""
        leaf = new.masked_fill(~mask, hidden).requires_grad_()
        under = None if ref is None else ref.masked_fill(~mask, hidden / 2)
        loss, figures = objective.loss(leaf, old.masked_fill(~mask, hidden * 3), under, advantages, mask)
        expect(loss.ndim == 0 and bool(loss.isfinite()), f"{what}: the loss is {loss}; expected a finite scalar")
        expect(all(isinstance(v, float) for v in figures.values()), f"{what}: figures {figures}; expected floats")
        (slope,) = torch.autograd.grad(loss, leaf)
        return loss.detach(), slope

    (loss, slope), (other, other_slope) = evaluate(0.0), evaluate(-7.0)
    expect(bool(slope.isfinite().all()), f"{what}: the gradient is {slope}; expected finite numbers")
    expect(torch.equal(loss, other), f"{what}: masked tokens change the loss from {loss} to {other}")
    expect(torch.equal(slope, other_slope), f"{what}: masked tokens change the gradient")
    expect(not slope[~mask].any(), f"{what}: masked tokens have a gradient")
