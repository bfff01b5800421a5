"""A random model of Qwen2.5-VL-7B's exact shape and SAM 2.1 Hiera-L's on a GPU: rollouts, a training step, tracking.

    python benchmarks/speed/gpu.py --out benchmarks/results/speed/gpu.json

Without a GPU it runs on small shapes, and the record says so ("ran_on"): that shows that it works, and no speed. The
paper needs 725 s for 1,024 rollouts and the update (on GPUs that it does not name); beside our figures stand what the
chip allows: the bytes that a decoded token has to move and the operations of reading prompts and of the update.
Defaults are an H200's: `--bandwidth` bytes/s, `--flops` bfloat16 operations/s.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import measure
import numpy as np

N = 8
PAPER = {"rollouts": 1024, "seconds": 725}
TEXT_7B = {
    "vocab_size": 152_064,
    "hidden_size": 3584,
    "intermediate_size": 18_944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "max_position_embeddings": 128_000,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    "tie_word_embeddings": False,
}
VISION_7B = {
    "depth": 32,
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "out_hidden_size": 3584,
    "window_size": 112,
    "tokens_per_second": 2,
    "fullatt_block_indexes": [7, 15, 23, 31],
}
SMALL = {"frames": 4, "size": 56, "keyframe": 84, "tokens": 4, "prompts": 1, "track": 6, "turns": 1}


def make_policy(given: Any, folder: str) -> Any:
    """The `qwen` policy with a random model of the wanted shape, which is never written to disk."""
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    from revseg.policies.hf.attention import use_own_attention
    from revseg.policies.hf.policy import HFPolicy
    from revseg.shapes.small_model import build_model, build_processor

    processor = build_processor(["where is the red square?"] * 9, size=given.keyframe)
    build_model(processor, hidden=64, layers=2, heads=2, vision_hidden=64, vision_depth=2).save_pretrained(folder)
    processor.save_pretrained(folder)
    policy = HFPolicy(folder, device=given.device, batch_size=given.prompts * N)
    if given.device != "cpu":
        known = policy.model.config
        ids = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
        config = Qwen2_5_VLConfig(
            text_config={**TEXT_7B, "bos_token_id": None, "eos_token_id": policy.codec.end_id},
            vision_config=VISION_7B,
            tie_word_embeddings=False,
            **{name: getattr(known, name) for name in ids},
        )
        torch.set_default_dtype(torch.bfloat16)
        with torch.device(given.device):
            model = Qwen2_5_VLForConditionalGeneration(config).eval()
        torch.set_default_dtype(torch.float32)
        use_own_attention(model)
        policy = policy.with_model(model)
    policy.stops = []  # every reply as long as allowed: what is compared is work
    return policy


def make_groups(given: Any) -> list[Any]:
    from revseg.types import Clip, Query, Rollout

    rng = np.random.default_rng(0)
    clips = rng.integers(0, 256, (given.prompts, given.frames, 64, 64, 3), np.uint8)
    starts = [Rollout(Clip(c, np.arange(given.frames)), Query(f"q{i}", "where?")) for i, c in enumerate(clips)]
    return [start for start in starts for _ in range(N)]


def hold(policy: Any, given: Any, tokens: int, seed: int = 0) -> list[Any]:
    """Both rounds with every group; the answers are given, since a random model's are none."""
    from revseg.rollout.prompts import box, keyframe
    from revseg.types import Answer, Sampling, Target, Turn

    rows = make_groups(given)
    sampling = Sampling(1.0, 1.0, 0, tokens, seed)
    shown = {id(row): keyframe(row, size=given.size) for row in rows}
    asked = [shown[id(row)] for row in rows]
    for number in range(2):
        asked = asked if number == 0 else [box(row, size=given.keyframe) for row in rows]
        replies = policy.reply(rows, asked, sampling=sampling)
        answers = [Answer((Target(i % given.frames, "red"),)) for i in range(len(rows))]
        turns = [Turn(*row, row[0].clips[-1]) for row in zip(asked, replies, answers, strict=True)]
        rows = [replace(row, turns=(*row.turns, turn)) for row, turn in zip(rows, turns, strict=True)]
    policy.forget()
    return rows


def timed(function: Callable[[], Any], given: Any) -> dict[str, float]:
    """Seconds, after one call that is not timed."""
    import torch

    times = []
    for _ in range(given.turns + 1):
        began = time.perf_counter()
        function()
        if given.device != "cpu":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return measure.spread(times[1:])


def peak(given: Any) -> int | None:
    import torch

    if given.device == "cpu":
        return None
    found = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    return found


def work(policy: Any, given: Any, rows: list[Any]) -> dict[str, float]:
    """Parameters, tokens and patches, and the limits that follow from them."""
    model = policy.model
    parts = {"vision": model.model.visual, "language": model.model.language_model.layers, "head": model.lm_head}
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    config = model.config.text_config
    item = model.dtype.itemsize
    head_size = config.hidden_size // config.num_attention_heads
    cached = 2 * config.num_hidden_layers * config.num_key_value_heads * head_size * item
    pieces = [policy.codec.encode(row, None) for row in rows]
    patches = [sum(len(b.patches) for b in piece.blocks) for piece in pieces[0]]
    tokens = [len(piece.token_ids) for piece in pieces[0]]
    fresh = given.prompts * tokens[0] + len(rows) * tokens[2]  # a group's first prompt once
    seen = given.prompts * patches[0] + len(rows) * patches[2]
    prefill = 2 * (counts["language"] * fresh + counts["vision"] * seen)
    step_bytes = (counts["language"] + counts["head"]) * item + len(rows) * sum(tokens) * cached
    learnt = 3 * prefill + 6 * (counts["language"] + counts["head"]) * len(rows) * (tokens[1] + tokens[3])
    return {
        **{f"{name}_parameters": count for name, count in counts.items()},
        "tokens_a_conversation": sum(tokens),
        "bytes_a_decoding_step": step_bytes,
        "least_s_a_decoding_step": step_bytes / given.bandwidth,
        "flops_of_prefill": prefill,
        "least_s_of_prefill": prefill / given.flops,
        "flops_of_update": learnt,  # attention's own products left out: under a tenth at these lengths
        "least_s_of_update": learnt / given.flops,
    }


def rollouts(policy: Any, given: Any) -> tuple[dict[str, Any], list[Any]]:
    whole = timed(lambda: hold(policy, given, given.tokens), given)
    one = timed(lambda: hold(policy, given, 1), given)
    rows = hold(policy, given, given.tokens)
    count = len(rows)
    found: dict[str, Any] = {
        "what": f"rollouts, {given.prompts} prompts x {N}, {given.frames} frames at {given.size}, keyframe "
        f"{given.keyframe}, {given.tokens} tokens a reply",
        "seconds": whole,
        "rollouts_a_second": count / whole["median"],
        "prefill_s": one["median"],
        "decoding_step_s": (whole["median"] - one["median"]) / max(1, 2 * (given.tokens - 1)),
        "peak_bytes": peak(given),
        **work(policy, given, rows),
    }
    return {**found, "seconds_of_1024_rollouts": PAPER["rollouts"] / found["rollouts_a_second"]}, rows


def training(policy: Any, given: Any, rows: list[Any]) -> dict[str, Any]:
    """Forward, backward and optimizer over the same rollouts, with LoRA (all of a 7B's weights need several GPUs)."""
    import torch
    from accelerate import Accelerator

    from revseg.objectives.completed import completed
    from revseg.registry import build
    from revseg.training.config import TrainConfig
    from revseg.training.optimizers import descend, make_optimizers
    from revseg.training.prepare import prepare, trained
    from revseg.training.rollouts import Judged
    from revseg.training.update import update
    from revseg.types import RewardBreakdown

    lora = 0 if given.device == "cpu" else given.lora
    settings = TrainConfig(
        lora_rank=lora, max_tokens_per_forward=given.budget, gradient_checkpointing=given.checkpointing, bf16=bool(lora)
    )
    prepare(policy, settings)
    objective = completed(build("objective", "grpo:beta=0"))
    optimizers = make_optimizers(policy.model, "adamw", 1e-6)
    rewards = [RewardBreakdown({"r": i % N / N}, {"r": 1.0}) for i in range(len(rows))]
    accelerator = Accelerator(cpu=given.device == "cpu")

    def step() -> None:
        update(policy, objective, None, Judged(rows, rewards, N), settings, accelerator)
        descend(optimizers, trained(policy), 1.0)

    peak(given)
    seconds = timed(step, given)
    with torch.no_grad():
        policy.model.eval()
    return {
        "what": f"update over {len(rows)} rollouts, lora={lora}, gradient checkpointing {given.checkpointing}",
        "seconds": seconds,
        "peak_bytes": peak(given),
        "seconds_of_1024_rollouts": seconds["median"] * PAPER["rollouts"] / len(rows),
    }


def save_sam2(folder: Path, small: bool) -> None:
    if small:
        sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
        from tiny_sam2 import save_tiny_sam2  # pyright: ignore[reportMissingImports]

        save_tiny_sam2(folder)
        return
    import sam2
    from hydra.utils import instantiate
    from omegaconf import OmegaConf
    from safetensors.torch import save_file

    config: Any = OmegaConf.load(Path(sam2.__path__[0], "configs/sam2.1/sam2.1_hiera_l.yaml"))
    net = instantiate(config.model)
    OmegaConf.save(config, folder / "sam2_large.yaml")
    save_file({name: tensor.contiguous() for name, tensor in net.state_dict().items()}, folder / "sam2.safetensors")


def tracking(given: Any, folder: Path) -> list[dict[str, Any]]:
    from revseg.registry import build
    from revseg.types import Grounding
    from revseg.video import Video

    small = given.device == "cpu"
    save_sam2(folder, small)
    frames = np.random.default_rng(0).integers(0, 256, (given.track, 480, 854, 3), np.uint8)
    video = Video("random", (480, 854), 24.0, given.track, frames.__getitem__)
    prompt = [Grounding(0, np.array([[0.3, 0.3, 0.6, 0.6]], np.float32))]
    found = []
    for dtype, compiled in (("float32", False), ("bfloat16", False), ("bfloat16", True)):
        if small and compiled:
            continue  # compiling takes longer on a CPU than all else here
        tracker = build(
            "tracker", f"sam2:model={folder},device={given.device},dtype={dtype},compile={compiled}".lower()
        )
        seconds = timed(lambda tracker=tracker: tracker(video, prompt), given)
        row = {"what": f"tracking {given.track} frames of 480x854, {dtype}" + ", compiled" * compiled}
        found.append({**row, "frames_a_second": given.track / seconds["median"], "peak_bytes": peak(given)})
    return found


def options() -> Any:
    import torch

    parser = measure.arguments(__doc__)
    sizes = {"frames": 16, "size": 448, "keyframe": 840, "tokens": 128, "prompts": 8, "track": 100, "turns": 3}
    for name, value in {**sizes, "lora": 16, "budget": 32_768}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--checkpointing", action="store_true", help="gradient checkpointing in the update")
    parser.add_argument("--bandwidth", type=float, default=4.8e12)
    parser.add_argument("--flops", type=float, default=989e12)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    if given.small or given.device == "cpu":
        vars(given).update(SMALL)
    return given


def main() -> None:
    import torch

    given = options()
    name = "CPU, small shapes" if given.device == "cpu" else torch.cuda.get_device_name(given.device)
    if given.device == "cpu":
        torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        policy = make_policy(given, folder)
        first, rows = rollouts(policy, given)
        found = [first, training(policy, given, rows)]
        del policy, rows
        if given.device != "cpu":
            torch.cuda.empty_cache()
        Path(folder, "sam2").mkdir()
        found += tracking(given, Path(folder, "sam2"))
    if given.device != "cpu":  # a small model's seconds say nothing beside the paper's
        whole = sum(row["seconds_of_1024_rollouts"] for row in found[:2])
        found.append({"what": "1,024 rollouts and the update, one GPU", "seconds": whole, "paper_s": PAPER["seconds"]})
    measure.report([{**row, "ran_on": name} for row in found], given.out)


if __name__ == "__main__":
    main()
