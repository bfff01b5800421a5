"""Pretraining of the vision tower: it learns what each of its tokens shows, before a language model reads them.

A released vision tower has seen many pictures before it is trained on questions. One trained from scratch through a
language model learns from a few words per video; with a label for the colour, form and box of every token it learns
from hundreds. The labels are read through the language model's own output embeddings (`VisionHeads`), so that words and
what they look like are already aligned when the language model sees its first question. The heads' linear maps are then
dropped.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int64

from revseg import checked
from revseg.masks import MaskTrack
from revseg.policies.hf.inputs import see
from revseg.registry import build
from revseg.shapes.supervised import Report, draw_clip, run_steps
from revseg.shapes.token_labels import token_labels
from revseg.shapes.vision_heads import VisionHeads
from revseg.training.optimizers import muon_and_adamw
from revseg.types import Answer, Clip, Dataset, Message, Prompt, Reply, Rollout, Sample, Target, Turn

if TYPE_CHECKING:
    from revseg.policies.hf.codecs import Block


@dataclass(frozen=True)
class VisionPretrainingConfig:
    """A run of `steps` batches, each of `batch` clips and one frame of each as a picture.

    `prompts` (of the first and of the second round) decide how clips and pictures are shown. `words` lists the words of
    each kind in the objects' names, in the order of the name: (colours, forms). `longest` is the longest side of a
    picture, in pixels. `workers` processes make batches beforehand.
    """

    prompts: tuple[str, str]
    words: tuple[tuple[str, ...], ...]
    longest: int = 112
    steps: int = 600
    batch: int = 32
    muon_lr: float = 0.02
    adam_lr: float = 3e-3
    warmup: int = 100
    sampler: str = "uniform"
    num_frames: int = 16
    seed: int = 0
    bf16: bool = True
    save_every: int = 200
    workers: int = 0


def pretrain_vision(
    policy: Any,
    dataset: Dataset,
    folder: str | Path,
    config: VisionPretrainingConfig,
    *,
    all_objects: Callable[[Sample], MaskTrack],
    report: Report = lambda row: None,
) -> None:
    """Train the vision tower of `policy` in place; log and checkpoints in `folder`, from which a stopped run continues.

    `all_objects(sample)` returns the masks of every object in a scene, with names. Under torchrun the processes share
    each batch.
    """
    import torch

    heads = VisionHeads(policy, config.words, longest=config.longest, frames=config.num_frames, seed=config.seed)
    words = heads.parts["words"].parameters()
    optimizers = muon_and_adamw(heads.parts, muon_lr=config.muon_lr, adam_lr=config.adam_lr, plain=words)

    def make_batch(step: int, rows: slice) -> "tuple[list[Block], np.ndarray]":
        return _batch(policy, dataset, config, step, all_objects, rows)

    def backward(batch: "tuple[list[Block], np.ndarray]", accelerator: Any) -> dict[str, float]:
        blocks, labels = batch
        device = policy.model.device
        with torch.autocast(device.type, torch.bfloat16, enabled=config.bf16):
            losses, accuracy = heads(see(policy, blocks), torch.as_tensor(labels, device=device))
        loss = losses.mean() / accelerator.num_processes
        loss.backward()
        return {"loss": accelerator.reduce(loss.detach(), "sum").item(), "accuracy": accuracy}

    run_steps(heads.parts, optimizers, Path(folder), config, make_batch, backward, report)


def _batch(
    policy: Any,
    dataset: Dataset,
    config: VisionPretrainingConfig,
    step: int,
    all_objects: Callable[[Sample], MaskTrack],
    rows: slice,
) -> "tuple[list[Block], Int64[np.ndarray, 'n k']]":
    """The blocks of one step, clips before pictures, and the labels of their tokens.

    Row r depends on (seed, step, r) alone.
    """
    sampler = build("sampler", config.sampler)
    clip_prompt, picture_prompt = (build("prompt", spec) for spec in config.prompts)
    blocks: list[Block] = []
    labels: list[np.ndarray] = []
    for row in range(config.batch)[rows]:
        rng = np.random.default_rng([config.seed, step, row])
        sample, clip = draw_clip(dataset, sampler, config.num_frames, rng)
        track = all_objects(sample).at(clip.frame_ids)
        frame_id = int(clip.frame_ids[int(rng.integers(len(clip)))])
        in_clip = checked.message(clip_prompt, clip_prompt(Rollout(clip, sample.query)), sample.query)
        in_picture = _picture_message(picture_prompt, sample, clip, frame_id)
        for message, visible, still in ((in_clip, track, False), (in_picture, track.at([frame_id]), True)):
            (block,) = policy.codec.prompt(message, first=True).blocks
            blocks.append(block)
            (shown,) = message.clips
            grid = (block.grid.t, block.grid.h, block.grid.w)
            labels.append(token_labels(visible, grid, config.words, shown.size, config.longest, still=still))
    videos = [i for i, block in enumerate(blocks) if block.is_video]
    order = [*videos, *(i for i in range(len(blocks)) if i not in videos)]
    return [blocks[i] for i in order], np.concatenate([labels[i] for i in order])


def _picture_message(prompt: Prompt, sample: Sample, clip: Clip, frame_id: int) -> Message:
    """The second round's message when the first round has named this frame as the keyframe."""
    answer = Answer((Target(frame_id, "x"),))
    named = Turn(Message("user", ("",)), Reply(""), answer, clip)
    return checked.message(prompt, prompt(Rollout(clip, sample.query, (named,))), sample.query)
