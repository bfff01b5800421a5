"""Protocols for training: what the trainer calls of a policy and of an objective."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from revseg.types.parts import Policy
from revseg.types.rollout import Rollout

if TYPE_CHECKING:
    import torch


@runtime_checkable
class TrainablePolicy(Policy, Protocol):
    """A policy whose tokens can be scored again with gradients. These members suffice to train.

    Its replies carry `token_ids` and `logprobs`. Its constructor has an option, `model` unless the class attribute
    `weights` (a tuple of options) names another first, that reads the folder which `save` wrote: so the trained policy
    gets its spec. What else it may have is `TrainedPolicy`; what it leaves out, `revseg.training.trainable` fills in.
    """

    @property
    def model(self) -> "torch.nn.Module": ...

    def logprobs(self, rollouts: Sequence[Rollout], *, temperature: float = 1.0) -> "list[torch.Tensor]":
        """Per rollout float[n]: log-probs of all its sampled tokens, every round, in order."""
        ...

    def save(self, folder: str) -> None:
        """Write the weights, and what is needed to build the policy again, into a folder that exists."""
        ...


@runtime_checkable
class TrainedPolicy(TrainablePolicy, Protocol):
    """Exactly what the trainer calls of a policy; all but what `TrainablePolicy` has may be left out of one."""

    batch_size: int  # conversations at a time; left out: a step's all

    @property
    def defaults(self) -> Mapping[str, Any]:
        """The settings that it was trained with, set before `save`; left out: they are not saved."""
        ...

    @defaults.setter
    def defaults(self, settings: Mapping[str, Any], /) -> None: ...

    @property
    def stops(self) -> Sequence[int] | None:
        """Tokens that end a reply; with another last token it was cut off. Left out or None: see `Reply.cut_off`."""
        ...

    def length(self, rollout: Rollout) -> int:
        """Tokens of the whole conversation, pictures included; left out: the sampled ones."""
        ...

    def forget(self) -> None:
        """Drop what is cached: the weights are about to change; left out: nothing is."""
        ...

    def add_lora(self, rank: int) -> None:
        """Put fresh adapters on; left out: an InputError when `lora_rank` is set."""
        ...

    @property
    def has_adapters(self) -> bool:
        """Whether adapters lie on its weights, which alone are trained then; left out: False."""
        ...

    def without_adapters(self) -> AbstractContextManager[Any]:
        """A context without its adapters, for a KL to the base model; left out: an InputError for such a KL."""
        ...

    def with_model(self, model: Any) -> Any:
        """The same policy with other weights, for a KL to a copy; left out: an InputError for such a KL."""
        ...

    def freeze_vision(self) -> None:
        """Exclude its vision tower from training; left out: an InputError when `freeze_vision` is asked for."""
        ...

    def recompute_activations(self) -> None:
        """Compute activations again in backward passes instead of keeping them; left out: an InputError when
        `gradient_checkpointing` is asked for."""
        ...


@dataclass(frozen=True)
class WeightCounts:
    """Numbers of weights: all, those of the vision tower, and those of LoRA adapters of rank 1."""

    all: int
    vision: int
    per_rank: int


@dataclass(frozen=True)
class TokenCounts:
    """Numbers of tokens of a conversation: those of pictures, those of other text in prompts, those of replies."""

    pictures: int
    text: int
    replies: int


@runtime_checkable
class CountsTokens(Protocol):
    """A policy's class that counts the tokens of conversations without loading weights."""

    def count_tokens(self, options: Mapping[str, Any], rollouts: Sequence[Rollout], /) -> list[TokenCounts]:
        """For the policy with these options, as its constructor takes them."""
        ...


@runtime_checkable
class CountsWeights(Protocol):
    """A policy's class that counts a model's weights without loading them; training asks whether they will fit."""

    def count_weights(self, model: str | None, /) -> WeightCounts | None:
        """Of the model that its option for weights names; None where that is not known."""
        ...


@runtime_checkable
class Objective(Protocol):
    """An RL objective: rewards to advantages, log-probs to a loss. These two methods suffice to train.

    A loss without a keyword-only option `count` is a mean over the replies of what it is given, and the trainer weighs
    it by their share of the batch. Advantages get `lengths` and `weights` where they have such keyword-only options.
    What else an objective may have is `TrainingObjective`; what it leaves out, `revseg.objectives.completed` fills in.
    """

    def advantages(self, rewards: "torch.Tensor", /) -> "torch.Tensor":
        """[groups, n] or, for objectives that weigh components, [groups, n, components] -> [groups, n]."""
        ...

    def loss(
        self,
        new: "torch.Tensor",
        old: "torch.Tensor",
        ref: "torch.Tensor | None",
        advantages: "torch.Tensor",
        mask: "torch.Tensor",
        /,
    ) -> "tuple[torch.Tensor, dict[str, float]]":
        """new, old, ref, mask [b, s], advantages [b] -> a scalar to minimise, and figures to log."""
        ...


@runtime_checkable
class TrainingObjective(Protocol):
    """Exactly what the trainer calls of an objective; all but `advantages` and `loss` may be left out of one."""

    @property
    def beta(self) -> float:
        """Weight of the KL to the reference policy; 0 (also when left out) keeps no reference."""
        ...

    @property
    def kl_in_reward(self) -> bool:
        """Whether `kl_penalty` is subtracted from the rewards; left out: no."""
        ...

    @property
    def weigh_components(self) -> bool:
        """Whether `advantages` wants [groups, n, components]; left out: no."""
        ...

    def advantages(
        self,
        rewards: "torch.Tensor",
        *,
        lengths: "torch.Tensor | None" = None,
        weights: "torch.Tensor | None" = None,
    ) -> "torch.Tensor":
        """`lengths` [groups, n] are generated tokens, `weights` [components] the rewards' weights."""
        ...

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
        """`count` is `count(mask)` of the whole batch, by which the losses of micro-batches add up to the batch's."""
        ...

    def count(self, mask: "torch.Tensor") -> float:
        """What the loss divides by; left out: the replies that have a token in the mask."""
        ...

    def keep_groups(self, rewards: "torch.Tensor") -> "torch.Tensor":
        """bool[groups]: which to learn from; left out: all."""
        ...

    def mask_truncated(self, mask: "torch.Tensor", truncated: "torch.Tensor") -> "torch.Tensor":
        """The mask without the replies that bool[b] `truncated` marks; left out: the mask as it is."""
        ...

    def kl_penalty(self, old: "torch.Tensor", ref: "torch.Tensor", mask: "torch.Tensor") -> "torch.Tensor":
        """[b]: what is subtracted from the rewards with `kl_in_reward`; left out: there is none."""
        ...
