"""What is done to a policy before it is trained: adapters on, parts frozen, and the check that it can be trained."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from revseg.errors import InputError
from revseg.training.config import TrainConfig
from revseg.training.reference import Reference, make_reference

if TYPE_CHECKING:
    import torch

NEEDED = ("model", "logprobs", "length", "stops", "forget", "save")  # revseg.types.TrainablePolicy
OBJECTIVE = ("beta", "kl_in_reward", "kl_penalty", "weigh_components", "count", "keep_groups", "mask_truncated")


def prepare(policy: Any, config: TrainConfig) -> None:
    """Put adapters on, freeze what is to stay, as the settings say; in place. InputError if it cannot be trained."""
    missing = [name for name in NEEDED if not hasattr(policy, name)]
    if missing:
        raise InputError(
            f"{type(policy).__name__} cannot be trained: it has no {', '.join(missing)} "
            "(see revseg.types.TrainablePolicy); use a policy such as qwen"
        )
    if config.lora and hasattr(policy.model, "peft_config"):
        raise InputError("the policy has LoRA adapters already, which will be trained: leave lora at 0")
    if config.lora:
        policy.add_lora(config.lora)
    model = policy.model.get_base_model() if hasattr(policy.model, "get_base_model") else policy.model
    if config.freeze_vision:
        model.model.visual.requires_grad_(False)
    if config.gradient_checkpointing:
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": False})  # the latter is its name in older transformers
    half = [p for p in trained(policy) if p.dtype.itemsize < 4]
    if half:
        raise InputError(
            f"the weights to train are {half[0].dtype}, in which a step of lr={config.lr:g} is lost in rounding: load "
            "them as float32 (qwen:dtype=float32) and set bf16=true for fast forwards, or train adapters (lora=16)"
        )


def check_objective(objective: Any) -> None:
    """InputError, naming what is missing, for an objective that the loop cannot work with."""
    missing = [name for name in OBJECTIVE if not hasattr(objective, name)]
    if missing:
        raise InputError(
            f"the objective {type(objective).__name__} has no {', '.join(missing)}: derive it from "
            "revseg.objectives.Objective, which has them"
        )


def trained(policy: Any) -> "list[torch.nn.Parameter]":
    """The parameters that a step moves."""
    return [parameter for parameter in policy.model.parameters() if parameter.requires_grad]


def autocast(policy: Any, config: TrainConfig) -> AbstractContextManager[Any]:
    """bfloat16 for every forward of a run (conversations, reference, loss), or nothing at all."""
    import torch

    return torch.autocast(policy.model.device.type, torch.bfloat16, enabled=config.bf16)


def reference_of(policy: Any, config: TrainConfig) -> Reference:
    """The policy as it is now, before any step; kept as `config.reference` says."""
    kind = config.reference if config.reference != "auto" else "adapter" if config.lora else "copy"
    return make_reference(policy, kind, config.temperature)
