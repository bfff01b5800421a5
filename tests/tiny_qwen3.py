"""A randomly initialised Qwen3-VL of a few thousand parameters, saved as a user would find a checkpoint."""

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from tiny_qwen import TEXT, save_tiny_qwen

from revseg.shapes.small_model import CHAT_TEMPLATE, build_processor


def _is_supported() -> bool:
    from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLModel

    return "mm_encoder_outputs" in inspect.signature(Qwen3VLModel.forward).parameters


SUPPORTED = pytest.mark.skipif(not _is_supported(), reason="Qwen3-VL needs transformers 5.18 or later")


def save_tiny_qwen3(
    folder: Path | str, *, patch: int = 16, defaults: dict[str, object] | None = None, stops: bool = True
) -> str:
    """As `save_tiny_qwen`. Pictures are multiples of twice `patch` pixels, which is 16 in the released models."""
    import torch
    from transformers import (
        Qwen2VLImageProcessor,
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    tokenizer = build_processor(TEXT, size=112).tokenizer
    half: dict[str, Any] = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    processor = Qwen3VLProcessor(
        Qwen2VLImageProcessor(patch_size=patch, **half),
        tokenizer,
        Qwen3VLVideoProcessor(patch_size=patch, **half),
        chat_template=CHAT_TEMPLATE,
    )
    ids = tokenizer.convert_tokens_to_ids
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "max_position_embeddings": 4096,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 2, 2]},
            "bos_token_id": None,
            "eos_token_id": ids("<|im_end|>"),
            "pad_token_id": ids("<|endoftext|>"),
        },
        vision_config={
            "depth": 3,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": 64,
            "patch_size": patch,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 1],
        },
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Qwen3VLForConditionalGeneration(config)
        for name, weights in model.named_parameters():  # as they come, pictures hardly move the logits
            if weights.ndim > 1:
                torch.nn.init.normal_(weights, std=0.1 if "visual" in name else 0.06)
    if stops:
        model.generation_config.eos_token_id = [tokenizer.eos_token_id, *range(10, len(tokenizer), 5)]
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    if defaults is not None:
        Path(folder, "revseg.json").write_text(json.dumps(defaults), "utf-8")
    return str(folder)


def save_tiny(family: str, folder: Path | str, **options: Any) -> str:
    """A tiny model of a family, whose pictures are multiples of 28 pixels in either."""
    if family == "qwen2_5_vl":
        return save_tiny_qwen(folder, **options)
    return save_tiny_qwen3(folder, patch=14, **options)
