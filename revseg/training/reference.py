"""The policy that a run must not stray from: its log-probs for the KL term."""

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from revseg.training.trainable import device_of
from revseg.types import Rollout

if TYPE_CHECKING:
    import torch

Reference = Callable[[Sequence[Rollout]], "list[torch.Tensor]"]


def make_reference(policy: Any, kind: str, temperature: float) -> Reference:
    """Log-probs, without gradients, under the weights as they are now.

    `copy` keeps a second model beside the first, `cpu` keeps it there, `adapter` switches LoRA off for the moment.
    """
    import torch

    if kind == "adapter":

        def score(rollouts: Sequence[Rollout]) -> "list[torch.Tensor]":
            with torch.no_grad(), policy.without_adapters():
                return policy.logprobs(rollouts, temperature=temperature)

        return score
    home = device_of(policy)
    if kind == "cpu":
        policy.model.to("cpu")  # copied there, so that the accelerator never has to hold two
    other = policy.with_model(copy.deepcopy(policy.model).eval().requires_grad_(False))
    policy.model.to(home)

    def score_copy(rollouts: Sequence[Rollout]) -> "list[torch.Tensor]":
        with torch.no_grad():
            return [row.to(device_of(policy)) for row in other.logprobs(rollouts, temperature=temperature)]

    return score_copy
