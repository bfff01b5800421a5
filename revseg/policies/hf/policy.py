"""Qwen2.5-VL as a policy: from the hub, a local folder or the checkpoint that the library carries."""

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from revseg.errors import InputError
from revseg.policies.checkpoints import folder_of
from revseg.policies.hf.weight_counts import count_weights
from revseg.policies.row_seeds import row_seeds
from revseg.registry import register
from revseg.types import Message, Reply, Rollout, Sampling
from revseg.untrusted.reading import read_json

if TYPE_CHECKING:
    import torch


@register("policy", "hf")
@register("policy", "qwen")
class HFPolicy:
    """Qwen2.5-VL through transformers; without `model`, the small checkpoint bundled with revseg.

    Options: `model` a hub name, a folder, or the name of a checkpoint that comes with revseg (`small_grpo`, which is
    the default, `small_sft`, `small_mixed`); `dtype` "auto" (bfloat16 on a GPU, float32 on a CPU), "float32",
    "bfloat16" or "float16"; `device` "auto", "cpu", "cuda:1"; `device_map` as in transformers, instead of `device`;
    `attention` transformers' implementation ("sdpa", "flash_attention_2", "eager"); `adapter` a LoRA folder written by
    peft; `fps` the nominal frame rate of clips (the paper's 2); `batch_size` rows a forward; `reuse` round 1's cache
    in round 2 (memory against time).

    Weights are safetensors and fill the whole model: InputError names what is missing, unexpected or of another shape,
    and whatever else in the folder is damaged or of another model. No code of the folder's is run.

    A `revseg.json` beside the weights, as training writes it, gives `defaults`: the plan, sampler, number of frames
    and most tokens of a reply (`max_new_tokens`) that the checkpoint was taught.
    """

    count_weights = staticmethod(count_weights)
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
        from revseg.policies.hf.encoding import Encoder
        from revseg.policies.hf.loading import load
        from revseg.policies.hf.session import Sessions

        folder = folder_of(model)
        self._model, self.processor = load(folder, dtype, device, device_map, attention, adapter)
        self.defaults = _defaults(folder) or _defaults(adapter or "")
        self.encoder = Encoder(self.processor, self._model.config, fps=fps)
        self.suppressed = suppressed_tokens(self.processor.tokenizer)
        self.stops = stop_tokens(self._model, self.encoder.end_id)
        self.batch_size = batch_size
        self._sessions = Sessions(self, batch_size, reuse)

    @property
    def model(self) -> "torch.nn.Module":
        """The transformers (or peft) model, for optimizers and for `train()` and `eval()`."""
        return self._model

    def reply(self, rollouts: Sequence[Rollout], prompts: Sequence[Message], *, sampling: Sampling) -> list[Reply]:
        """One reply a conversation. Each distinct prompt is read once; later rounds continue from the cache."""
        return self._sessions.reply(rollouts, prompts, uniforms(rollouts, prompts, sampling), sampling)

    def logprobs(self, rollouts: Sequence[Rollout], *, temperature: float = 1.0) -> "list[torch.Tensor]":
        """Per rollout float32[n]: log-probs of all its sampled tokens, every round, with gradients. One forward."""
        from revseg.policies.hf.logprobs import logprobs

        return logprobs(self, rollouts, temperature=temperature)

    def length(self, rollout: Rollout) -> int:
        """Tokens of the whole conversation, pictures included: what a forward over it costs."""
        return sum(len(piece.token_ids) for piece in self.encoder.conversation(rollout, None))

    def add_lora(self, rank: int) -> None:
        """Put fresh LoRA adapters on the language model's linear layers; from here on only they are trained."""
        from peft import LoraConfig, get_peft_model

        layers = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
        self._model = get_peft_model(self._model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=layers))

    def with_model(self, model: Any) -> "HFPolicy":
        """This policy with other weights, such as a frozen copy's; encoder and settings are shared."""
        from revseg.policies.hf.session import Sessions

        other = copy.copy(self)
        other._model = model
        other._sessions = Sessions(other, self._sessions.batch_size, self._sessions.reuse)
        return other

    def forget(self) -> None:
        """Drop the cache kept for a next round; to be called when the weights are about to change."""
        self._sessions.forget()

    def save(self, folder: str) -> None:
        """Weights (safetensors), processor and `revseg.json` in `folder`, as `qwen:model=folder` reads them.

        LoRA adapters are merged into these weights; alone they lie in `folder/adapter`, as `adapter=` reads them.
        """
        model: Any = self._model
        if hasattr(model, "merge_and_unload"):
            model.save_pretrained(str(Path(folder, "adapter")))
            home = model.device
            merged = copy.deepcopy(model.to("cpu")).merge_and_unload()  # on the CPU: an accelerator may not hold two
            model.to(home)
            model = merged
        model.save_pretrained(folder)
        self.processor.save_pretrained(folder)
        Path(folder, "revseg.json").write_text(json.dumps(self.defaults, indent=2) + "\n", "utf-8")


def suppressed_tokens(tokenizer: Any) -> list[int]:
    """Tokens that stand for pictures: a policy that drew one would break the count of placeholders."""
    names = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>")
    ids = tokenizer.convert_tokens_to_ids(list(names))
    return sorted({i for i in ids if i is not None and i != tokenizer.unk_token_id})


def stop_tokens(model: Any, end_id: int) -> list[int]:
    """Tokens that end a reply: the end of a message and what the model's generation config names."""
    named = model.generation_config.eos_token_id
    return sorted({end_id, *(named if isinstance(named, list) else [named] if named is not None else [])})


def uniforms(rollouts: Sequence[Rollout], prompts: Sequence[Message], sampling: Sampling) -> np.ndarray:
    """float64[b n] in [0, 1), n the most tokens of a reply: the numbers that each row's tokens are drawn with."""
    if sampling.temperature <= 0:
        return np.zeros((len(rollouts), sampling.limit))
    rows = [np.random.default_rng(s).random(sampling.limit) for s in row_seeds(rollouts, prompts, sampling)]
    return np.stack(rows) if rows else np.zeros((0, sampling.limit))


def _defaults(folder: str) -> Mapping[str, Any]:
    """What the checkpoint says that it was taught; data from elsewhere, which `ReVSeg` checks before it is used."""
    path = Path(folder, "revseg.json")
    if not folder or not path.is_file():
        return {}
    data = read_json(path, "what a checkpoint was taught")
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected an object with plan, sampler and num_frames, got {data!r:.80}")
    return data
