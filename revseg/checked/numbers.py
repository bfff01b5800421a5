"""What rewards, objectives and the log-probs of a policy return."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from revseg.checked.describe import wrong
from revseg.errors import PartError
from revseg.registry import origin
from revseg.types import Rollout

if TYPE_CHECKING:
    import torch


def number(reward: str, value: Any) -> float:
    """The value that a reward returned; `reward` is its name in the error."""
    if not share(value):
        named = "" if isinstance(value, int | float) else f"{type(value).__name__} "
        raise PartError(f"{reward}: expected a number in [0, 1], got {named}{value!r:.200}")
    return float(value)


def share(value: Any) -> bool:
    """True for a number in [0, 1]."""
    return isinstance(value, bool | int | float | np.bool_ | np.integer | np.floating) and bool(0 <= value <= 1)


def logprobs(policy: Any, found: Any, rollouts: Sequence[Rollout]) -> "list[torch.Tensor]":
    """What `policy.logprobs` returned: float[n] per rollout, one number per sampled token."""
    import torch

    part = f"policy {origin(policy)}"
    lengths = [sum(len(turn.reply.token_ids) for turn in rollout.turns) for rollout in rollouts]
    if not isinstance(found, list | tuple) or not all(isinstance(row, torch.Tensor) for row in found):
        raise wrong(part, "the log-probs as a list of tensors, one per rollout", found)
    shapes = [tuple(row.shape) for row in found]
    if shapes != [(length,) for length in lengths]:
        raise PartError(f"{part}: expected log-probs for {lengths} sampled tokens, got the shapes {shapes}")
    return list(found)


def advantages(objective: Any, found: Any, shape: tuple[int, ...]) -> "torch.Tensor":
    """The advantages that an objective computed: one number per rollout, [groups n]."""
    import torch

    part = f"objective {origin(objective)}"
    if not isinstance(found, torch.Tensor) or tuple(found.shape) != shape:
        raise wrong(part, f"advantages of shape {shape}", found)
    return found


def loss(objective: Any, found: Any) -> "tuple[torch.Tensor, dict[str, float]]":
    """The loss of an objective, a scalar, and figures to log. A NaN passes: the training step skips it."""
    import torch

    part, pair = f"objective {origin(objective)}", isinstance(found, list | tuple) and len(found) == 2
    if not pair or not isinstance(found[0], torch.Tensor) or found[0].ndim or not isinstance(found[1], Mapping):
        raise wrong(part, "a scalar loss and figures by name", found)
    if not all(isinstance(value, int | float) for value in found[1].values()):
        raise wrong(part, "figures to log as numbers", found[1])
    return found[0], dict(found[1])
