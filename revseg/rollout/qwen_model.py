"""The model behind the `qwen` policy: loaded whole from a folder that was checked, or refused."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from revseg.errors import InputError
from revseg.model_folder import check_model_folder, find_folder, pick_device, pick_dtype
from revseg.pretrained import load_checked, load_processor
from revseg.rollout.adapter import load_adapter
from revseg.rollout.bundled import ASSETS

KIND = "qwen2_5_vl"


def load(
    model: str, dtype: str, device: str, device_map: str | None, attention: str | None, adapter: str | None
) -> tuple[Any, Any]:
    """Model (eval mode) and processor. InputError, naming what was looked for, when either cannot be loaded."""
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

    from revseg.rollout.attention import use_own_attention

    where = pick_device(device)
    on_cpu = device_map is None and where.type == "cpu"
    options: dict[str, Any] = {"dtype": pick_dtype(dtype, torch.float32 if on_cpu else torch.bfloat16)}
    if device_map is not None:
        options["device_map"] = device_map
    options["attn_implementation"] = attention or "sdpa"
    folder = _folder(model)
    with _no_bar() if folder.parent == ASSETS else nullcontext():  # small: a bar would flash by
        net = load_checked(Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLConfig, folder, **options)
    net.name_or_path = net.config._name_or_path = model  # what is written beside adapters: not a folder of the cache
    processor = load_processor(Qwen2_5_VLProcessor, folder)
    _check_pair(net.config, processor, folder)
    if attention in (None, "sdpa"):
        use_own_attention(net)
    if device_map is None:
        net = net.to(where)
    if adapter is not None:
        net = load_adapter(net, adapter)
    return net.eval(), processor


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
    if not (processor.chat_template or tokenizer.chat_template) or tokenizer.eos_token_id is None:
        raise InputError(f"the tokenizer in {folder} has no chat template or no end of a message; {_WHOLE}")


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
