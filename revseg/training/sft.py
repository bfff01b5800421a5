"""Supervised fine-tuning on expert conversations: how the bundled policy learnt to answer before any reward."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from revseg.masks import MaskTrack
from revseg.registry import build
from revseg.training.checkpoint import load_checkpoint, save_checkpoint
from revseg.training.expert import Expert
from revseg.training.optim import muon_and_adamw, scale_rates, warmup_then_decay
from revseg.types import Dataset, Rollout, Sample


@dataclass(frozen=True)
class SFTConfig:
    """A run of `steps` batches. `single` is the share of conversations held in one round instead of two; `extra` box
    rounds about any object of the scene follow each two-round one, because they cost little beside its clip. The
    first `boxes_first` batches hold box rounds alone, twice as many: finding things is learnt before telling which is
    meant."""

    steps: int = 2000
    batch: int = 32
    muon_lr: float = 0.01
    adam_lr: float = 3e-3
    warmup: int = 50
    rounds: Sequence[Sequence[str]] = (("keyframe", "keyframe_json"), ("box", "box_json"))
    single_round: Sequence[str] = ("keyframe_and_box", "keyframe_and_box_json")
    single: float = 0.0
    extra: int = 0
    boxes_first: int = 0
    sampler: str = "uniform"
    num_frames: int = 16
    seed: int = 0
    bf16: bool = True
    save_every: int = 200


def sft(
    policy: Any,
    dataset: Dataset,
    folder: str | Path,
    config: SFTConfig,
    *,
    others: Callable[[Sample], MaskTrack] | None = None,
    report: Callable[[dict[str, float]], None] = lambda row: None,
) -> None:
    """Train `policy` (a TrainablePolicy with an encoder, such as `qwen`) in place; logs and checkpoints in `folder`.

    Batch i is drawn from (seed, i) alone, so a run that was stopped goes on from its checkpoint as if it had not been.
    `others(sample)` gives all objects of a scene, with names, for the extra box rounds.
    """
    import torch

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    optimizers = muon_and_adamw(policy.model, muon_lr=config.muon_lr, adam_lr=config.adam_lr)
    start = load_checkpoint(folder / "checkpoint.pt", policy.model, optimizers)
    policy.model.train()
    for step in range(start, config.steps):
        began = time.perf_counter()
        rollouts = batch(policy, dataset, config, step, others)
        scale_rates(optimizers, warmup_then_decay(step, config.steps, config.warmup))
        with torch.autocast(policy.model.device.type, torch.bfloat16, enabled=config.bf16):
            scores = torch.cat(policy.logprobs(rollouts))
        loss = -scores.mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        row = {"step": step, "loss": loss.item(), "tokens": len(scores), "seconds": time.perf_counter() - began}
        with (folder / "log.jsonl").open("a") as log:
            log.write(json.dumps(row) + "\n")
        report(row)
        if (step + 1) % config.save_every == 0 or step + 1 == config.steps:
            save_checkpoint(folder / "checkpoint.pt", policy.model, optimizers, step + 1)
    policy.model.eval()
    policy.defaults = {**policy.defaults, "rounds": config.rounds, "sampler": config.sampler}
    policy.defaults |= {"num_frames": config.num_frames}
    policy.save(str(folder))
    (folder / "config.sft.json").write_text(json.dumps(asdict(config), indent=2) + "\n")


def batch(
    policy: Any,
    dataset: Dataset,
    config: SFTConfig,
    step: int,
    others: Callable[[Sample], MaskTrack] | None = None,
) -> list[Rollout]:
    """The expert conversations of one step."""
    rng = np.random.default_rng([config.seed, step])
    sampler = build("sampler", config.sampler)
    plans = [[prompt for prompt, _ in config.rounds], [config.single_round[0]]]
    experts = [Expert(tuple(build("prompt", p) for p in plan), lambda text: _tokens(policy, text)) for plan in plans]
    rollouts = []
    first = step < config.boxes_first and others is not None
    for index in rng.integers(len(dataset), size=config.batch * (2 if first else 1)).tolist():
        sample = dataset[index]
        clip = sampler(sample.video, sample.query, config.num_frames)
        if first and others is not None:
            rollouts.append(experts[0].boxes(sample, clip, rng, others(sample), 1))
            continue
        alone = bool(rng.random() < config.single)
        scene = others(sample) if others is not None and not alone else None
        rollouts.append(experts[alone].conversation(sample, clip, rng, scene, config.extra))
    return rollouts


def _tokens(policy: Any, text: str) -> list[int]:
    encoder = policy.encoder
    return [*encoder.tokenizer(text, add_special_tokens=False)["input_ids"], encoder.end_id]
