"""The model behind the `qwen` policy: loaded whole from a folder that was checked, or refused."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from revseg.devices import pick_device, pick_dtype
from revseg.errors import InputError
from revseg.policies.hf.lora_adapter import load_adapter
from revseg.untrusted.model_folder import check_model_folder, find_folder, short
from revseg.untrusted.pretrained import load_checked, load_processor

KIND = "qwen2_5_vl"
SMALL = 1 << 27  # bytes


def load(
    model: str, dtype: str, device: str, device_map: str | None, attention: str | None, adapter: str | None
) -> tuple[Any, Any]:
    """Model (eval mode) and processor. InputError, naming what was looked for, when either cannot be loaded."""
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

    from revseg.policies.hf.attention import use_own_attention

    where = pick_device(device)
    on_cpu = device_map is None and where.type == "cpu"
    options: dict[str, Any] = {"dtype": pick_dtype(dtype, torch.float32 if on_cpu else torch.bfloat16)}
    if device_map is not None:
        options["device_map"] = device_map
    options["attn_implementation"] = attention or "sdpa"
    folder = _folder(model)
    with _no_bar() if _size(folder) < SMALL else nullcontext():  # a bar would flash by
        net = load_checked(Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLConfig, folder, **options)
    net.name_or_path = net.config._name_or_path = model  # what is written beside adapters: not a folder of the cache
    processor = load_processor(Qwen2_5_VLProcessor, folder)
    _check_pair(net.config, processor, folder)
    _check_numbers(net, folder)
    if attention in (None, "sdpa"):
        use_own_attention(net)
    if device_map is None:
        net = net.to(where)
    if adapter is not None:
        net = load_adapter(net, adapter)
    return net.eval(), processor


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def _folder(model: str) -> Path:
    try:
        folder = find_folder(model)
        kind = check_model_folder(folder).get("model_type")
    except InputError as error:
        raise InputError(f"cannot load Qwen2.5-VL from {model!r}: {error}") from error
    if kind != KIND:
        raise InputError(
            f"expected model_type {KIND} in {folder / 'config.json'}, got {kind!r}: the policy qwen runs Qwen2.5-VL "
            "alone; serve another model and use the policy openai (docs/how-to/serve_a_policy.md)"
        )
    return folder


def _check_pair(config: Any, processor: Any, folder: Path) -> None:
    """InputError when tokenizer or preprocessor are of another model than the weights."""
    tokenizer, vision = processor.tokenizer, config.vision_config
    picture = processor.image_processor
    pairs = {
        "the token <|image_pad|>": (tokenizer.convert_tokens_to_ids("<|image_pad|>"), config.image_token_id),
        "the token <|video_pad|>": (tokenizer.convert_tokens_to_ids("<|video_pad|>"), config.video_token_id),
        "the patch size": (picture.patch_size, vision.patch_size),
        "the temporal patch size": (picture.temporal_patch_size, vision.temporal_patch_size),
        "the merge size": (picture.merge_size, vision.spatial_merge_size),
    }
    for name, (came, wanted) in pairs.items():
        if came != wanted:
            raise InputError(f"{name} in {folder} is {came} for the processor and {wanted} in config.json; {_WHOLE}")
    highest, rows = max(tokenizer.get_vocab().values()), config.get_text_config().vocab_size
    if highest >= rows:
        raise InputError(f"the tokenizer in {folder} has token {highest} and the model {rows} rows; {_WHOLE}")
    template = processor.chat_template or tokenizer.chat_template
    if not isinstance(template, str) or tokenizer.eos_token_id is None:
        raise InputError(f"the tokenizer in {folder} has no chat template or no end of a message; {_WHOLE}")
    try:
        asked = [{"role": "user", "content": [{"type": "text", "text": "x"}]}]
        tokenizer.apply_chat_template(asked, chat_template=template, tokenize=False)
    except Exception as error:  # a template is a small program, and fails as it likes
        raise InputError(f"the chat template in {folder} cannot be used ({short(error)}); {_WHOLE}") from error
    for name, values in (("image_mean", picture.image_mean), ("image_std", picture.image_std)):
        if not isinstance(values, list | tuple) or len(values) != 3 or not all(map(_is_number, values)):
            raise InputError(f"expected three numbers as {name} of the processor in {folder}, got {values!r:.80}")
        if name == "image_std" and not all(value > 0 for value in values):
            raise InputError(f"expected numbers above 0 as {name} of the processor in {folder}, got {values!r:.80}")


def _check_numbers(net: Any, folder: Path) -> None:
    """InputError for what transformers reads without looking, and what would fail at the first reply."""
    text, ends = net.config.get_text_config(), net.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [] if ends is None else [ends]
    if not all(isinstance(end, int) and 0 <= end < text.vocab_size for end in ends):
        raise InputError(
            f"expected eos_token_id of the vocabulary in {folder}/generation_config.json, got {ends!r:.80}"
        )
    parts = (text.rope_parameters or {}).get("mrope_section")
    half = (getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads) // 2
    if not isinstance(parts, list) or not all(isinstance(n, int) and n > 0 for n in parts) or sum(parts) != half:
        raise InputError(f"expected mrope_section that sums to {half} in {folder}/config.json, got {parts!r:.80}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


_WHOLE = "copy all files of one model"


@contextmanager
def _no_bar() -> Iterator[None]:
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
