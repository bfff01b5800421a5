"""What is done to a policy before it is trained: adapters on, parts frozen, and the check that it can be trained."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from revseg.errors import InputError
from revseg.training.config import TrainConfig
from revseg.training.reference import Reference, make_reference
from revseg.training.trainable import device_of, reference_kind

if TYPE_CHECKING:
    import torch


def prepare(policy: Any, config: TrainConfig) -> None:
    """Put adapters on, freeze what is to stay, as the settings say; in place. InputError if it cannot be trained."""
    if config.lora_rank and policy.has_adapters:
        raise InputError("the policy has LoRA adapters already, which will be trained: leave lora_rank at 0")
    if config.lora_rank:
        policy.add_lora(config.lora_rank)
    if config.freeze_vision:
        policy.freeze_vision()
    if config.gradient_checkpointing:
        policy.recompute_activations()
    half = [p for p in trained(policy) if p.dtype.itemsize < 4]
    if half:
        raise InputError(
            f"the weights to train are {half[0].dtype}, in which a step of lr={config.lr:g} is lost in rounding: load "
            "them as float32 (dtype=float32) and set bf16=true for fast forwards, or train adapters (lora_rank=16)"
        )


def trained(policy: Any) -> "list[torch.nn.Parameter]":
    """The parameters that a step moves."""
    return [parameter for parameter in policy.model.parameters() if parameter.requires_grad]


def autocast(policy: Any, config: TrainConfig) -> AbstractContextManager[Any]:
    """bfloat16 for every forward of a run (conversations, reference, loss), or nothing at all."""
    import torch

    return torch.autocast(device_of(policy).type, torch.bfloat16, enabled=config.bf16)


def reference_of(policy: Any, config: TrainConfig) -> Reference:
    """The policy as it is now, before any step; kept as `config.reference` says."""
    return make_reference(policy, reference_kind(config), config.temperature)
