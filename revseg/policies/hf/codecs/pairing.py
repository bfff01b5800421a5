"""Whether a processor and a configuration are of one model, and can be used at all."""

import math
from pathlib import Path
from typing import Any

from revseg.errors import InputError
from revseg.untrusted.model_folder import short

_WHOLE = "copy all files of one model"


def check_pair(processor: Any, config: Any, folder: Path, placeholders: tuple[str, str]) -> None:
    """InputError when tokenizer or image processor are of another model than the weights.

    `placeholders` are the tokens that stand for a picture and for a clip.
    """
    tokenizer, vision, picture = processor.tokenizer, config.vision_config, processor.image_processor
    image, video = placeholders
    pairs = {
        f"the token {image}": (tokenizer.convert_tokens_to_ids(image), config.image_token_id),
        f"the token {video}": (tokenizer.convert_tokens_to_ids(video), config.video_token_id),
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
    _check_template(processor, folder)
    for name, values in (("image_mean", picture.image_mean), ("image_std", picture.image_std)):
        if not isinstance(values, list | tuple) or len(values) != 3 or not all(map(_is_number, values)):
            raise InputError(f"expected three numbers as {name} of the processor in {folder}, got {values!r:.80}")
        if name == "image_std" and not all(value > 0 for value in values):
            raise InputError(f"expected numbers above 0 as {name} of the processor in {folder}, got {values!r:.80}")


def check_rotary(config: Any, folder: Path) -> None:
    """InputError when a multimodal rotary embedding's sections do not fill half of a head."""
    text = config.get_text_config()
    parts = (text.rope_parameters or {}).get("mrope_section")
    half = (getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads) // 2
    if not isinstance(parts, list) or not all(isinstance(n, int) and n > 0 for n in parts) or sum(parts) != half:
        raise InputError(f"expected mrope_section that sums to {half} in {folder}/config.json, got {parts!r:.80}")


def check_ends(ends: Any, config: Any, folder: Path) -> list[int]:
    """The tokens that end a reply, as a generation configuration has them: a number, a list, or nothing."""
    ends = ends if isinstance(ends, list) else [] if ends is None else [ends]
    if not all(isinstance(end, int) and 0 <= end < config.get_text_config().vocab_size for end in ends):
        raise InputError(
            f"expected eos_token_id of the vocabulary in {folder}/generation_config.json, got {ends!r:.80}"
        )
    return ends


def _check_template(processor: Any, folder: Path) -> None:
    tokenizer = processor.tokenizer
    template = processor.chat_template or tokenizer.chat_template
    if not isinstance(template, str) or tokenizer.eos_token_id is None:
        raise InputError(f"the tokenizer in {folder} has no chat template or no end of a message; {_WHOLE}")
    try:
        asked = [{"role": "user", "content": [{"type": "text", "text": "x"}]}]
        tokenizer.apply_chat_template(asked, chat_template=template, tokenize=False)
    except Exception as error:  # a template is a small program, and fails as it likes
        raise InputError(f"the chat template in {folder} cannot be used ({short(error)}); {_WHOLE}") from error


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
