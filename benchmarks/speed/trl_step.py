"""TRL's side of grpo_step.py, run by an interpreter of its own: `python trl_step.py job.json` prints one JSON line."""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

QUESTION = "where is the red square that moves to the left?"


def vowels(completions: list[Any], **unused: Any) -> list[float]:
    texts = [c if isinstance(c, str) else c[0]["content"] for c in completions]
    return [len(set("aeiou") & set(text.lower())) / 5 for text in texts]


def rows(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Half the frames as pictures: in a clip, two frames are one patch."""
    import numpy as np
    from PIL import Image

    clips = np.load(Path(job["folder"], "clips.npy"))
    text = [{"role": "user", "content": QUESTION}]
    return [{"prompt": text, "images": [Image.fromarray(frame) for frame in clip[::2]]} for clip in clips]


def main() -> None:
    import torch
    import trl  # pyright: ignore[reportMissingImports]
    from datasets import Dataset  # pyright: ignore[reportMissingImports]
    from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer  # pyright: ignore[reportMissingImports]

    sys.path.insert(0, str(Path(__file__).parent))
    import measure

    job = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(1)
    processor = AutoProcessor.from_pretrained(job["folder"])
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(job["folder"], dtype=torch.float32)
    marks: list[tuple[float, float]] = []
    drawn: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
            marks.append((time.process_time(), time.perf_counter()))

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **unused: Any) -> None:
            if "completions/mean_length" in (logs or {}):
                drawn.append(logs["completions/mean_length"])

    with tempfile.TemporaryDirectory() as out:
        settings = GRPOConfig(
            output_dir=out, max_steps=job["steps"] + 1, per_device_train_batch_size=8, num_generations=8,
            gradient_accumulation_steps=job["prompts"], max_completion_length=job["tokens"], learning_rate=1e-6,
            generation_kwargs={"suppress_tokens": processor.tokenizer.all_special_ids}, report_to=[],
            save_strategy="no", logging_steps=1, use_cpu=not torch.cuda.is_available(), disable_tqdm=True, bf16=False,
            gradient_checkpointing=False, beta=0.0,
        )  # fmt: skip
        trainer = GRPOTrainer(
            model=model, reward_funcs=vowels, args=settings, train_dataset=Dataset.from_list(rows(job)),
            processing_class=processor, callbacks=[Clock()],
        )  # fmt: skip
        before, _ = measure.memory()
        measure.forget_peak()
        trainer.train()
    found = {"marks": marks, "peak": measure.memory()[1] - before, "tokens": sum(drawn) / max(1, len(drawn))}
    print(json.dumps({**found, "trl": trl.__version__}))


if __name__ == "__main__":
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    main()
