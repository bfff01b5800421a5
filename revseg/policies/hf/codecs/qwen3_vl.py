"""Qwen3-VL: a clip is a series of pictures, one for every two frames, each after its time in words."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revseg.errors import InputError
from revseg.policies.hf.codecs import pairing
from revseg.policies.hf.codecs.chat import ChatCodec
from revseg.policies.hf.codecs.codec import Block
from revseg.policies.hf.codecs.sequences import MORE_PLACEHOLDERS, left_out
from revseg.policies.hf.mrope import Grid
from revseg.registry import register

if TYPE_CHECKING:
    import torch


@register("codec", "qwen3_vl")
class Qwen3VL(ChatCodec):
    """Qwen3-VL. Boxes in thousandths of the picture's sides, which are multiples of 32 pixels.

    A clip is written as `<0.2 seconds><|vision_start|>...<|vision_end|><1.2 seconds><|vision_start|>...<|vision_end|>`:
    these replace the template's own `<|vision_start|><|video_pad|><|vision_end|>`, as in transformers up to 5.8 and in
    vLLM. Later releases of transformers replace `<|video_pad|>` alone, so that a clip has one start and one end more.
    Times count from the beginning of the clip at the nominal frame rate `fps`.
    """

    coords = "per_mille"
    side = 32

    @staticmethod
    def classes() -> tuple[Any, Any, Any]:
        from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration, Qwen3VLProcessor

        return Qwen3VLConfig, Qwen3VLForConditionalGeneration, Qwen3VLProcessor

    @classmethod
    def check(cls, processor: Any, config: Any, folder: Path) -> None:
        from transformers import Qwen3VLModel

        if "mm_encoder_outputs" not in inspect.signature(Qwen3VLModel.forward).parameters:
            raise InputError("Qwen3-VL needs transformers 5.18 or later: pip install -U transformers")
        super().check(processor, config, folder)
        pairing.check_rotary(config, folder)

    def write(self, text: str, blocks: Sequence[Block]) -> tuple[str, list[Grid]]:
        start, end = self.processor.vision_start_token, self.processor.vision_end_token
        one = f"{start}{self.video_token}{end}"
        clips = [block for block in blocks if block.is_video]
        before, *after = text.split(one)
        if len(after) > len(clips):
            raise InputError(MORE_PLACEHOLDERS)
        if len(after) < len(clips):
            raise InputError(left_out(len(clips) - len(after)))
        parts = [before]
        for block, rest in zip(clips, after, strict=True):
            parts += [f"<{time:.1f} seconds>{one}" for time in self._times(block)]
            parts.append(rest)
        return "".join(parts), [Grid(1, b.grid.h, b.grid.w) for b in blocks for _ in range(b.grid.t)]

    def share_pictures(
        self, model: Any, inputs: "dict[str, torch.Tensor]", blocks: Sequence[Block]
    ) -> "dict[str, Any]":
        seen = {}
        for kind, pixels, grids in (
            ("image", "pixel_values", "image_grid_thw"),
            ("video", "pixel_values_videos", "video_grid_thw"),
        ):
            if pixels not in inputs:
                continue
            some = [block for block in blocks if block.is_video == (kind == "video")]
            place = {block: i for i, block in enumerate(dict.fromkeys(some))}
            order = [place[block] for block in some]
            out = model.model.get_image_features(inputs[pixels], inputs[grids], return_dict=True)
            out.pooler_output = [out.pooler_output[i] for i in order]
            out.deepstack_features = [[layer[i] for i in order] for layer in out.deepstack_features]
            seen[kind] = out
        kept = [name for name in ("input_ids", "attention_mask", "position_ids") if name in inputs]
        return {**{name: inputs[name] for name in kept}, "mm_encoder_outputs": seen}

    def _times(self, block: Block) -> list[float]:
        """Of each temporal patch the middle between its first and its last frame, in seconds from the beginning."""
        size = self.layout.temporal
        frames = [min(i, block.frames - 1) for i in range(block.grid.t * size)]  # the last is repeated to fill a patch
        # in the processor's order of operations: the text is rounded, and has to be rounded alike
        return [(frames[i] / self.fps + frames[i + size - 1] / self.fps) / 2 for i in range(0, len(frames), size)]

    def _suppressed(self) -> tuple[int, ...]:
        processor = self.processor
        ends = (processor.vision_start_token_id, processor.vision_end_token_id)
        return tuple(sorted({processor.image_token_id, processor.video_token_id, *ends}))
