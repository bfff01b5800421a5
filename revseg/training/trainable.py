"""A policy as the trainer calls it: required methods are checked before weights are loaded, others have defaults."""

import inspect
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from revseg.errors import InputError
from revseg.registry import options_of, registry
from revseg.training.config import TrainConfig
from revseg.types import Message, NamesWeights, Reply, Rollout, Sampling, TrainedPolicy

if TYPE_CHECKING:
    import torch

NEEDED = ("reply", "logprobs", "save")


def check_trainable(policy: Any, config: TrainConfig, beta: float) -> None:
    """InputError, naming the method, for a policy (spec or object) that these settings need more of; loads nothing.

    `beta` is the weight of the KL. Of a spec its class is looked at; what a function will give is only known built.
    """
    spec = isinstance(policy, str | Mapping)
    part = registry("policy").part(policy) if spec else policy
    if spec and not inspect.isclass(part):
        return
    model = () if spec else ("model",)  # a class may set it when it is built
    name = part.__name__ if inspect.isclass(part) else type(part).__name__
    missing = [method for method in (*model, *NEEDED) if not hasattr(part, method)]
    if missing:
        raise InputError(
            f"{name} cannot be trained: it has no {', '.join(missing)} "
            "(see revseg.types.TrainablePolicy); add it, or choose a policy that has it"
        )
    if config.lora_rank and not hasattr(part, "add_lora"):
        raise InputError(
            f"{name} has no add_lora, which lora_rank={config.lora_rank} needs: add it, or leave lora_rank at 0"
        )
    if config.freeze_vision and not hasattr(part, "freeze_vision"):
        raise InputError(f"{name} has no freeze_vision: add it, or leave freeze_vision at false")
    if config.gradient_checkpointing and not hasattr(part, "recompute_activations"):
        raise InputError(
            f"{name} has no recompute_activations, which gradient_checkpointing needs: add it, or leave "
            "gradient_checkpointing at false"
        )
    if beta > 0 and reference_kind(config) == "adapter" and not hasattr(part, "without_adapters"):
        raise InputError(
            f"{name} has no without_adapters, which the reference for a KL of beta={beta:g} needs: add it, or set the "
            "objective's beta to 0"
        )
    if beta > 0 and reference_kind(config) != "adapter" and not hasattr(part, "with_model"):
        raise InputError(
            f"{name} has no with_model, which the copy for a KL of beta={beta:g} needs: add it, or set the objective's "
            "beta to 0"
        )
    if spec:
        weights_option(part)


def reference_kind(config: TrainConfig) -> str:
    """How the KL's reference is kept: "copy", "cpu" or "adapter"."""
    return config.reference if config.reference != "auto" else "adapter" if config.lora_rank else "copy"


def weights_option(part: Any) -> tuple[str, ...]:
    """The options of a policy's class that say where its weights are; InputError when the first one does not exist."""
    options = weights_named(part)
    if options[0] not in options_of(part):
        raise InputError(
            f"{part.__name__} has no option {options[0]!r} to read the folder that save wrote, so that nothing could "
            "use the trained weights: add it, or name another one in the class attribute weights"
        )
    return options


def weights_named(part: Any) -> tuple[str, ...]:
    """The options of a policy's class that say where its weights are; the first reads the folder that `save` wrote."""
    return tuple(part.weights) if isinstance(part, NamesWeights) else ("model",)


def trainable(policy: Any) -> TrainedPolicy:
    """The policy itself when it has every member of `TrainedPolicy`, else with the missing ones filled in."""
    return policy if isinstance(policy, TrainedPolicy) else _Completed(policy)


def device_of(policy: Any) -> "torch.device":
    """Where the policy's weights are (the first of them)."""
    return next(iter(policy.model.parameters())).device


class _Completed:
    """Defaults: nothing cached, replies cut off where they say so, as long as what was sampled, all in one batch."""

    def __init__(self, policy: Any) -> None:
        self.policy = policy
        self.batch_size: int = getattr(policy, "batch_size", 1 << 30)
        self.stops: Sequence[int] | None = getattr(policy, "stops", None)

    @property
    def model(self) -> "torch.nn.Module":
        return self.policy.model

    @property
    def defaults(self) -> Mapping[str, Any]:
        """What it was taught."""
        return getattr(self.policy, "defaults", {})

    @defaults.setter
    def defaults(self, taught: Mapping[str, Any]) -> None:
        if hasattr(self.policy, "defaults"):  # one without does not write them down
            self.policy.defaults = taught

    def reply(self, rollouts: Sequence[Rollout], prompts: Sequence[Message], *, sampling: Sampling) -> list[Reply]:
        return self.policy.reply(rollouts, prompts, sampling=sampling)

    def logprobs(self, rollouts: Sequence[Rollout], *, temperature: float = 1.0) -> "list[torch.Tensor]":
        return self.policy.logprobs(rollouts, temperature=temperature)

    def save(self, folder: str) -> None:
        self.policy.save(folder)

    def length(self, rollout: Rollout) -> int:
        if hasattr(self.policy, "length"):
            return self.policy.length(rollout)
        return sum(len(turn.reply.token_ids) for turn in rollout.turns)

    def forget(self) -> None:
        if hasattr(self.policy, "forget"):
            self.policy.forget()

    def add_lora(self, rank: int) -> None:
        self.policy.add_lora(rank)  # `check_trainable` has seen to it that it is there

    @property
    def has_adapters(self) -> bool:
        return getattr(self.policy, "has_adapters", False)

    # `check_trainable` has seen to it that these are there when they are called

    def without_adapters(self) -> AbstractContextManager[Any]:
        return self.policy.without_adapters()

    def with_model(self, model: Any) -> Any:
        return self.policy.with_model(model)

    def freeze_vision(self) -> None:
        self.policy.freeze_vision()

    def recompute_activations(self) -> None:
        self.policy.recompute_activations()
