"""Defaults for the optional members of an objective, so that the trainer can call all of them."""

import inspect
from typing import TYPE_CHECKING, Any

from revseg.errors import InputError
from revseg.registry import origin
from revseg.types import Objective, TrainingObjective

if TYPE_CHECKING:
    import torch


def completed(objective: Any) -> TrainingObjective:
    """The objective itself if it has every member of `TrainingObjective`, else a wrapper that adds the missing ones.

    InputError, naming the method, when `advantages` or `loss` is missing, or `kl_penalty` with a KL in the reward.
    """
    if inspect.isclass(objective):
        raise InputError(f"expected an objective, got the class {origin(objective)}: create an instance")
    if isinstance(objective, TrainingObjective):
        return objective
    if not isinstance(objective, Objective):
        missing = [name for name in ("advantages", "loss") if not callable(getattr(objective, name, None))]
        raise InputError(
            f"the objective {type(objective).__name__} has no {', '.join(missing)}: an objective needs the methods "
            "advantages and loss (see revseg.types.Objective)"
        )
    return _Completed(objective)


class _Completed:
    """Defaults: no KL, the sum of the rewards, all groups and replies used, and the loss a mean over replies."""

    def __init__(self, objective: Any) -> None:
        self.objective = objective
        self.beta: float = getattr(objective, "beta", 0.0)
        self.kl_in_reward: bool = self.beta > 0 and getattr(objective, "kl_in_reward", False)
        self.weigh_components: bool = getattr(objective, "weigh_components", False)
        self._own = {name: getattr(objective, name, None) for name in ("count", "keep_groups", "mask_truncated")}
        self._penalty = getattr(objective, "kl_penalty", None)
        if self.kl_in_reward and self._penalty is None:
            raise InputError(
                f"the objective {type(objective).__name__} has no kl_penalty: kl_in_reward=True subtracts it from the "
                "rewards; add kl_penalty(old, ref, mask), or leave kl_in_reward out"
            )

    def advantages(
        self,
        rewards: "torch.Tensor",
        *,
        lengths: "torch.Tensor | None" = None,
        weights: "torch.Tensor | None" = None,
    ) -> "torch.Tensor":
        """The objective's advantages, with those of the two options that it takes."""
        options = {"lengths": lengths, "weights": weights}
        return self.objective.advantages(rewards, **_accepted(self.objective.advantages, options))

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
        """The objective's loss. Without an option `count` it counts as a mean over replies and is scaled."""
        options = _accepted(self.objective.loss, {"count": count})
        result = self.objective.loss(new, old, ref, advantages, mask, **options)
        if options or count is None or not isinstance(result, tuple) or len(result) != 2:
            return result  # `revseg.checked` reports what is not a pair
        return result[0] * (self.count(mask) / count), result[1]

    def count(self, mask: "torch.Tensor") -> float:
        """The divisor of a batch's loss: by default the number of replies with at least one token to learn from."""
        return float(mask.any(1).sum()) if self._own["count"] is None else self._own["count"](mask)

    def keep_groups(self, rewards: "torch.Tensor") -> "torch.Tensor":
        """bool[groups]: by default all."""
        own = self._own["keep_groups"]
        return rewards.new_ones(len(rewards)).bool() if own is None else own(rewards)

    def mask_truncated(self, mask: "torch.Tensor", truncated: "torch.Tensor") -> "torch.Tensor":
        """By default the mask unchanged."""
        own = self._own["mask_truncated"]
        return mask.bool() if own is None else own(mask, truncated)

    def kl_penalty(self, old: "torch.Tensor", ref: "torch.Tensor", mask: "torch.Tensor") -> "torch.Tensor":
        """[b]: the objective's penalty; called only with `kl_in_reward`."""
        assert self._penalty is not None  # checked in `__init__`
        return self._penalty(old, ref, mask)


def _accepted(method: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Those of the options that the method has a parameter for."""
    known = inspect.signature(method).parameters
    return {name: value for name, value in options.items() if name in known}
