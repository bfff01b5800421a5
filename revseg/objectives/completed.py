"""The smallest objective as the trainer calls it: the one place where what an objective leaves out gets its meaning."""

import inspect
from typing import TYPE_CHECKING, Any

from revseg.errors import InputError
from revseg.registry import origin
from revseg.types import Objective, TrainingObjective

if TYPE_CHECKING:
    import torch


def completed(objective: Any) -> TrainingObjective:
    """The objective itself when it has every member of `TrainingObjective`, else with the missing ones filled in.

    InputError, naming the method, when it has neither `advantages` nor `loss`, or wants a KL in the reward and has no
    `kl_penalty`.
    """
    if inspect.isclass(objective):
        raise InputError(f"expected an objective, got the class {origin(objective)}: make an object of it")
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
    """Defaults: no KL, rewards summed, every group and every reply learnt from, the mean over replies as the loss."""

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
        """The objective's own, with those of the two options that it takes."""
        options = {"lengths": lengths, "weights": weights}
        return self.objective.advantages(rewards, **_taken(self.objective.advantages, options))

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
        """The objective's own. Without an option `count` it is a mean over replies, here weighed by their share."""
        options = _taken(self.objective.loss, {"count": count})
        found = self.objective.loss(new, old, ref, advantages, mask, **options)
        if options or count is None or not isinstance(found, tuple) or len(found) != 2:
            return found  # what is no pair, `revseg.checked` refuses in words
        return found[0] * (self.count(mask) / count), found[1]

    def count(self, mask: "torch.Tensor") -> float:
        """What the loss of a batch divides by; replies with a token to learn from, unless the objective says."""
        return float(mask.any(1).sum()) if self._own["count"] is None else self._own["count"](mask)

    def keep_groups(self, rewards: "torch.Tensor") -> "torch.Tensor":
        """bool[groups]: all of them, unless the objective says."""
        own = self._own["keep_groups"]
        return rewards.new_ones(len(rewards)).bool() if own is None else own(rewards)

    def mask_truncated(self, mask: "torch.Tensor", truncated: "torch.Tensor") -> "torch.Tensor":
        """The mask as it is, unless the objective says."""
        own = self._own["mask_truncated"]
        return mask.bool() if own is None else own(mask, truncated)

    def kl_penalty(self, old: "torch.Tensor", ref: "torch.Tensor", mask: "torch.Tensor") -> "torch.Tensor":
        """[b]: the objective's own; asked for with `kl_in_reward` alone."""
        assert self._penalty is not None  # see `__init__`
        return self._penalty(old, ref, mask)


def _taken(method: Any, options: dict[str, Any]) -> dict[str, Any]:
    known = inspect.signature(method).parameters
    return {name: value for name, value in options.items() if name in known}
