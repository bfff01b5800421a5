"""What a GRPO run is: every setting, with the paper's values where it prints them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from revseg.errors import InputError


@dataclass(frozen=True)
class TrainConfig:
    """Settings of `revseg.train`. The defaults are the paper's for the 7B model; a small policy wants larger `lr`.

    `objective` is a spec of kind objective; `prompts` queries a step with `rollouts` conversations each; `tokens` the
    most tokens (padding counted) of one forward and backward, so that memory does not depend on the batch.
    """

    steps: int = 524
    prompts: int = 128
    rollouts: int = 8
    objective: str = "grpo:beta=0.001"
    lr: float = 1e-6
    warmup: int = 0
    decay: bool = False  # the learning rate down in a line to 2 % at the last step; the paper's is constant
    optimizer: str = "adamw"  # or "muon": hidden matrices by Muon at `lr`, the rest by AdamW at 0.3 lr
    weight_decay: float = 0.0
    grad_clip: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 512
    tokens: int = 16384
    bf16: bool = False  # autocast of the training forward; weights in bfloat16 are the policy's `dtype`
    gradient_checkpointing: bool = False
    lora: int = 0  # rank of LoRA adapters on all linear layers of the language model; 0 trains all weights
    freeze_vision: bool = False
    reference: str = "auto"  # the KL's: "copy", "cpu" (a copy there), "adapter" (LoRA off); auto picks by `lora`
    save_every: int = 20
    samples_every: int = 10  # steps between the rollouts that are written out to be read
    log_with: str | None = None  # "tensorboard", "wandb" or "trackio", through accelerate
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "prompts", "rollouts", "max_new_tokens", "tokens", "save_every", "samples_every"):
            if getattr(self, name) < 1:
                raise InputError(f"expected {name} of 1 or more, got {getattr(self, name)}")
        _one_of("optimizer", self.optimizer, ("adamw", "muon"))
        _one_of("reference", self.reference, ("auto", "copy", "cpu", "adapter"))
        if self.reference == "adapter" and not self.lora:
            raise InputError("reference='adapter' switches LoRA adapters off; it needs lora of 1 or more")

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "TrainConfig":
        """The inverse of `to_dict`; InputError for a setting that does not exist."""
        known = [f.name for f in fields(TrainConfig)]
        for name in data:
            if name not in known:
                raise InputError(f"training has no setting {name!r}; it has {', '.join(known)}")
        return TrainConfig(**data)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


def _one_of(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f"{what}={value!r}: expected one of {', '.join(known)}")
