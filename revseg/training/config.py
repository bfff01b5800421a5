"""The settings of a GRPO run, with the paper's values where it gives them."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import Field

from revseg.errors import InputError
from revseg.registry import spec_of
from revseg.settings import AboveZero, NotNegative, OneOrMore, ZeroOrMore, settings
from revseg.types import Sampling
from revseg.untrusted.trust import check_foreign

OLD_NAMES = {
    "prompts": "queries_per_step",
    "rollouts": "group_size",
    "tokens": "max_tokens_per_forward",
    "lora": "lora_rank",
    "decay": "lr_decay",
}  # what settings were called in earlier versions


@settings("training", OLD_NAMES)
class TrainConfig:
    """Settings of `revseg.train`. The defaults are the paper's for the 7B model; a small policy wants larger `lr`.

    `objective` is a spec of kind objective. A step samples `group_size` conversations about each of `queries_per_step`
    queries. `max_tokens_per_forward` (padding counted) bounds one forward and backward, so that memory does not depend
    on the batch. `reference` says where the KL's reference model is: a "copy", a copy on the "cpu", or the policy
    itself with its "adapter" switched off; "auto" is "adapter" with `lora_rank`, else "copy".
    """

    steps: OneOrMore = 524
    queries_per_step: OneOrMore = 128
    group_size: OneOrMore = 8
    updates_per_batch: OneOrMore = 1  # optimizer steps on the conversations of a step; 1 is strictly on-policy
    objective: Any = "grpo:beta=0.001"
    lr: AboveZero = 1e-6
    warmup: ZeroOrMore = 0
    lr_decay: bool = False  # linear, to 2 % at the last step; the paper's rate is constant
    optimizer: Literal["adamw", "muon"] = "adamw"  # muon: hidden matrices by Muon at `lr`, the rest by AdamW at 0.3 lr
    weight_decay: NotNegative = 0.0
    grad_clip: AboveZero = 1.0
    temperature: AboveZero = 1.0  # greedy groups have no spread
    top_p: Annotated[AboveZero, Field(le=1)] = 1.0
    max_new_tokens: OneOrMore = 512
    max_tokens_per_forward: OneOrMore = 16384
    bf16: bool = False  # autocast of every forward; the trained weights themselves stay in float32
    gradient_checkpointing: bool = False
    lora_rank: ZeroOrMore = 0  # rank of LoRA adapters on all linear layers of the language model; 0 trains all weights
    freeze_vision: bool = False
    reference: Literal["auto", "copy", "cpu", "adapter"] = "auto"
    save_every: OneOrMore = 20
    samples_every: OneOrMore = 10  # steps between the rollouts that are written out to be read
    prefetch: ZeroOrMore = 32  # clips decoded before they are needed, while the policy is busy; 0: none
    clip_cache: str | None = None  # a folder that keeps decoded clips, for videos on slow file systems
    clip_cache_gb: AboveZero = 50.0  # most that it may hold, in 10⁹ bytes
    check_memory: bool = True  # refuse, before loading, what cannot fit the device
    log_with: Literal[None, "tensorboard", "wandb", "trackio"] = None  # through accelerate
    seed: ZeroOrMore = 0

    def __post_init__(self) -> None:
        if self.reference == "adapter" and not self.lora_rank:
            raise InputError("reference='adapter' switches LoRA adapters off; it needs lora_rank of 1 or more")

    @property
    def sampling(self) -> Sampling:
        """How replies are drawn, except for the seed, which every step has of its own."""
        return Sampling(self.temperature, self.top_p, 0, self.max_new_tokens)

    @staticmethod
    def from_dict(data: Mapping[str, Any], *, trust: bool = False) -> "TrainConfig":
        """The inverse of `to_dict`; InputError for a setting that does not exist.

        SpecError when the objective is more than a registered one, unless `trust` says that the data is yours.
        """
        if not trust and "objective" in data:
            check_foreign("objective", data["objective"], "the record", "pass trust=True to TrainConfig.from_dict")
        return TrainConfig(**data)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON. An objective passed as an object is recorded by its import path, or as text."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {**values, "objective": spec_of(self.objective)}
