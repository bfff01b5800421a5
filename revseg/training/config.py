"""What a GRPO run is: every setting, with the paper's values where it prints them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from revseg.errors import InputError
from revseg.registry import spec_of
from revseg.types import Sampling
from revseg.untrusted.trust import check_foreign

_LEAST = {"warmup": 0, "lora_rank": 0, "seed": 0}  # of whole numbers; 1 for the others
OLD_NAMES = {
    "prompts": "queries_per_step",
    "rollouts": "group_size",
    "tokens": "max_tokens_per_forward",
    "lora": "lora_rank",
    "decay": "lr_decay",
}  # what settings were called in earlier versions
_ABOVE_ZERO = ("lr", "grad_clip", "temperature", "top_p")  # greedy groups have no spread, so temperature too


@dataclass(frozen=True)
class TrainConfig:
    """Settings of `revseg.train`. The defaults are the paper's for the 7B model; a small policy wants larger `lr`.

    `objective` is a spec of kind objective. A step samples `group_size` conversations about each of `queries_per_step`
    queries. `max_tokens_per_forward` (padding counted) bounds one forward and backward, so that memory does not depend
    on the batch.
    """

    steps: int = 524
    queries_per_step: int = 128
    group_size: int = 8
    updates_per_batch: int = 1  # optimizer steps on each step's conversations; the paper's 1 is strictly on-policy
    objective: Any = "grpo:beta=0.001"
    lr: float = 1e-6
    warmup: int = 0
    lr_decay: bool = False  # the learning rate down in a line to 2 % at the last step; the paper's is constant
    optimizer: str = "adamw"  # or "muon": hidden matrices by Muon at `lr`, the rest by AdamW at 0.3 lr
    weight_decay: float = 0.0
    grad_clip: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 512
    max_tokens_per_forward: int = 16384
    bf16: bool = False  # autocast of every forward; the trained weights themselves stay in float32
    gradient_checkpointing: bool = False
    lora_rank: int = 0  # rank of LoRA adapters on all linear layers of the language model; 0 trains all weights
    freeze_vision: bool = False
    reference: str = "auto"  # the KL's: "copy", "cpu" (a copy there), "adapter" (LoRA off); auto picks by `lora_rank`
    save_every: int = 20
    samples_every: int = 10  # steps between the rollouts that are written out to be read
    check_memory: bool = True  # refuse, before loading, what cannot fit the device
    log_with: str | None = None  # "tensorboard", "wandb" or "trackio", through accelerate
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            _check(field.name, field.type, getattr(self, field.name))
        _one_of("optimizer", self.optimizer, ("adamw", "muon"))
        _one_of("reference", self.reference, ("auto", "copy", "cpu", "adapter"))
        _one_of("log_with", self.log_with, (None, "tensorboard", "wandb", "trackio"))
        if self.top_p > 1:
            raise InputError(f"expected top_p of at most 1, got {self.top_p}")
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
        known = {f.name: f.type for f in fields(TrainConfig)}
        if not trust and "objective" in data:
            check_foreign("objective", data["objective"], "the record", "pass trust=True to TrainConfig.from_dict")
        for name, value in data.items():
            if name in OLD_NAMES:
                raise InputError(f"the training setting {name!r} is now called {OLD_NAMES[name]!r}: rename it")
            if name not in known:
                raise InputError(f"training has no setting {name!r}; it has {', '.join(known)}")
            _check(name, known[name], value)
        return TrainConfig(**data)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON. An objective passed as an object is recorded by its import path, or as text."""
        settings = {f.name: getattr(self, f.name) for f in fields(self)}
        return {**settings, "objective": spec_of(self.objective)}


def _check(name: str, kind: Any, value: Any) -> None:
    """Settings come from files and command lines too, where 1e-5 may be a text."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is bool and not isinstance(value, bool):
        raise InputError(f"expected {name} to be true or false, got {value!r}")
    if kind is int and not (number and isinstance(value, int) and value >= _LEAST.get(name, 1)):
        raise InputError(f"expected {name} to be a whole number of {_LEAST.get(name, 1)} or more, got {value!r}")
    if kind is float:
        least = "above 0" if name in _ABOVE_ZERO else "of 0 or more"
        if not (number and math.isfinite(value) and (value > 0 if name in _ABOVE_ZERO else value >= 0)):
            raise InputError(f"expected {name} to be a number {least}, got {value!r}")


def _one_of(what: str, value: Any, known: tuple[str | None, ...]) -> None:
    if value not in known:
        raise InputError(f"{what}={value!r}: expected one of {', '.join(map(str, known))}")
