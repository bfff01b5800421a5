"""Qwen2.5-VL: a clip is one run of placeholders, whose time is in its positions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from revseg.policies.hf.codecs import pairing
from revseg.policies.hf.codecs.chat import ChatCodec
from revseg.registry import register


@register("codec", "qwen2_5_vl")
class Qwen25VL(ChatCodec):
    """Qwen2.5-VL. Boxes in pixels of the picture shown, whose sides are multiples of 28."""

    coords = "pixel"
    picture_tokens = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>")

    def __init__(self, processor: Any, config: Any, *, stops: Sequence[int] = (), fps: float = 2.0) -> None:
        super().__init__(processor, config, stops=stops, fps=fps)
        self.tokens_per_second = config.vision_config.tokens_per_second

    @staticmethod
    def classes() -> tuple[Any, Any, Any]:
        from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

        return Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

    @classmethod
    def check(cls, processor: Any, config: Any, folder: Path) -> None:
        super().check(processor, config, folder)
        pairing.check_rotary(config, folder)
