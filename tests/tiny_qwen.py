"""A randomly initialised Qwen2.5-VL of a few thousand parameters, saved as a user would find a checkpoint."""

import json
from pathlib import Path

from revseg.shapes.small_model import build_model, build_processor

TEXT = [
    '<think>red circle moves left . so red circle</think><answer>[{"frame_idx":3,"object description":"red"}]</answer>',
    '[{"bbox_2d":[12,20,56,60]},{"bbox_2d":[112,0,4,8]}]',
    " the object that moves to the left",
] * 20


def save_tiny_qwen(
    folder: Path | str, *, seed: int = 0, defaults: dict[str, object] | None = None, stops: bool = True
) -> str:
    """Saves model and processor into `folder`, with a revseg.json when `defaults` are given.

    With `stops`, a fifth of all tokens end a reply (a generation config may name several), so that random replies are
    of uneven lengths.
    """
    processor = build_processor(TEXT, size=112)
    model = build_model(processor, hidden=64, layers=2, heads=2, vision_hidden=64, vision_depth=2, seed=seed)
    if stops:
        model.generation_config.eos_token_id = [
            processor.tokenizer.eos_token_id,
            *range(10, len(processor.tokenizer), 5),
        ]
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    if defaults is not None:
        Path(folder, "revseg.json").write_text(json.dumps(defaults), "utf-8")
    return str(folder)
