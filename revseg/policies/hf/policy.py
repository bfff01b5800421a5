"""Models of transformers as a policy: from the hub, a local folder or a checkpoint that the library carries."""

import copy
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from revseg.policies.checkpoints import folder_of
from revseg.policies.hf.inputs import base_model
from revseg.policies.hf.taught import read_defaults, read_geometry
from revseg.policies.hf.token_counts import count_tokens
from revseg.policies.hf.weight_counts import count_weights
from revseg.policies.row_seeds import row_seeds
from revseg.registry import register
from revseg.types import Geometry, Message, Reply, Rollout, Sampling

if TYPE_CHECKING:
    import torch


@register("policy", "hf")
@register("policy", "qwen")
class HFPolicy:
    """A vision-language model through transformers: Qwen2.5-VL, Qwen3-VL; without `model`, the small one of revseg.

    Options: `model` a hub name, a folder, or the name of a checkpoint that comes with revseg (`small_grpo`, which is
    the default, `small_sft`, `small_mixed`); `dtype` "auto" (bfloat16 on a GPU, float32 on a CPU), "float32",
    "bfloat16" or "float16"; `device` "auto", "cpu", "cuda:1"; `device_map` as in transformers, instead of `device`;
    `attention` transformers' implementation ("sdpa", "flash_attention_2", "eager"); `adapter` a LoRA folder written by
    peft; `fps` the nominal frame rate of clips (the paper's 2); `batch_size` rows per forward; `reuse` keeps round 1's
    cache for round 2 (memory against time).

    The family of the model, by the `model_type` in its config.json, needs a codec (`revseg list codec`). Weights are
    safetensors and fill the whole model: InputError names what is missing, unexpected or of another shape, and whatever
    else in the folder is damaged or of another model. No code of the folder is run.

    A `revseg.json` beside the weights, as training writes it, gives `defaults`: the plan, sampler, number of frames
    and most tokens of a reply (`max_new_tokens`) that the checkpoint was taught.
    """

    count_weights = staticmethod(count_weights)
    count_tokens = staticmethod(count_tokens)
    weights = ("model", "adapter")  # options that say where its weights are; the first reads what `save` wrote

    def __init__(
        self,
        model: str | None = None,
        *,
        dtype: str = "auto",
        device: str = "auto",
        device_map: str | None = None,
        attention: str | None = None,
        adapter: str | None = None,
        fps: float = 2.0,
        batch_size: int = 64,
        reuse: bool = True,
    ) -> None:
        from revseg.policies.hf.loading import load
        from revseg.policies.hf.session import Sessions

        self._model, self.codec = load(folder_of(model), dtype, device, device_map, attention, adapter, fps)
        self.defaults = self.defaults_of({"model": model, "adapter": adapter})
        self.suppressed = list(self.codec.suppressed)
        self.stops = list(self.codec.stops)
        self.batch_size = batch_size
        self._sessions = Sessions(self, batch_size, reuse)

    @staticmethod
    def defaults_of(options: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a policy with these options was taught, read without its weights: the model's revseg.json, else the
        adapter's."""
        adapter = options.get("adapter")
        return read_defaults(folder_of(options.get("model"))) or (read_defaults(adapter) if adapter else {})

    @staticmethod
    def geometry_of(options: Mapping[str, Any]) -> Geometry:
        """How the model's family writes coordinates and which pictures it reads, by the model's config.json."""
        return read_geometry(folder_of(options.get("model")))

    @property
    def coords(self) -> str:
        """The unit of coordinates in the replies."""
        return self.codec.coords

    @property
    def side(self) -> int:
        """Sides of pictures are multiples of so many pixels."""
        return self.codec.side

    @property
    def model(self) -> "torch.nn.Module":
        """The transformers (or peft) model, for optimizers and for `train()` and `eval()`."""
        return self._model

    @property
    def processor(self) -> Any:
        """transformers' processor of the model."""
        return self.codec.processor

    def reply(self, rollouts: Sequence[Rollout], prompts: Sequence[Message], *, sampling: Sampling) -> list[Reply]:
        """One reply per conversation. Each distinct prompt is read once; later rounds continue from the cache."""
        return self._sessions.reply(rollouts, prompts, uniforms(rollouts, prompts, sampling), sampling)

    def logprobs(self, rollouts: Sequence[Rollout], *, temperature: float = 1.0) -> "list[torch.Tensor]":
        """Per rollout float32[n]: log-probs of all its sampled tokens, every round, with gradients. One forward."""
        from revseg.policies.hf.logprobs import logprobs

        return logprobs(self, rollouts, temperature=temperature)

    def length(self, rollout: Rollout) -> int:
        """Tokens of the whole conversation, pictures included: what a forward over it costs."""
        return sum(len(piece.token_ids) for piece in self.codec.encode(rollout, None))

    def add_lora(self, rank: int) -> None:
        """Put fresh LoRA adapters on the language model's linear layers; from here on only they are trained."""
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=self.codec.lora_layers)
        self._model = get_peft_model(self._model, config)

    @property
    def has_adapters(self) -> bool:
        """Whether LoRA adapters lie on the model."""
        return hasattr(self._model, "peft_config")

    def without_adapters(self) -> AbstractContextManager[Any]:
        """The model as it is without its adapters, while the context lasts."""
        return self._model.disable_adapter()

    def freeze_vision(self) -> None:
        """Exclude the vision tower from training."""
        self.codec.vision_tower(base_model(self._model)).requires_grad_(False)

    def recompute_activations(self) -> None:
        """Compute activations again in backward passes instead of keeping them (gradient checkpointing)."""
        model = base_model(self._model)
        names = ("activation_checkpointing_enable", "gradient_checkpointing_enable")  # the latter in older transformers
        enable = next(getattr(model, name) for name in names if hasattr(model, name))
        enable({"use_reentrant": False})

    def with_model(self, model: Any) -> "HFPolicy":
        """This policy with other weights, such as a frozen copy's; codec and settings are shared."""
        from revseg.policies.hf.session import Sessions

        other = copy.copy(self)
        other._model = model
        other._sessions = Sessions(other, self._sessions.batch_size, self._sessions.reuse)
        return other

    def forget(self) -> None:
        """Drop the cache kept for a next round; to be called when the weights are about to change."""
        self._sessions.forget()

    def save(self, folder: str) -> None:
        """Weights (safetensors), processor and `revseg.json` in `folder`, as the option `model` reads them.

        LoRA adapters are merged into these weights; alone they lie in `folder/adapter`, as `adapter=` reads them.
        """
        model: Any = self._model
        if self.has_adapters:
            model.save_pretrained(str(Path(folder, "adapter")))
            home = model.device
            merged = copy.deepcopy(model.to("cpu")).merge_and_unload()  # on the CPU: an accelerator may not hold two
            model.to(home)
            model = merged
        model.save_pretrained(folder)
        self.processor.save_pretrained(folder)
        Path(folder, "revseg.json").write_text(json.dumps(self.defaults, indent=2) + "\n", "utf-8")


def uniforms(rollouts: Sequence[Rollout], prompts: Sequence[Message], sampling: Sampling) -> np.ndarray:
    """float64[b n] in [0, 1), n the most tokens of a reply: the numbers that each row's tokens are drawn with."""
    if sampling.temperature == 0:
        return np.zeros((len(rollouts), sampling.limit))
    rows = [np.random.default_rng(s).random(sampling.limit) for s in row_seeds(rollouts, prompts, sampling)]
    return np.stack(rows) if rows else np.zeros((0, sampling.limit))
