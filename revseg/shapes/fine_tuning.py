"""Supervised fine-tuning on demonstrations: how the bundled policies were trained before any reward."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from revseg import output
from revseg.masks import MaskTrack
from revseg.policies.hf.inputs import base_model
from revseg.registry import build
from revseg.shapes.demonstrations import Demonstrator
from revseg.shapes.supervised import Report, draw_clip, run_steps
from revseg.training.folder import save_policy
from revseg.training.optimizers import muon_and_adamw
from revseg.types import Dataset, Rollout, Sample

AllObjects = Callable[[Sample], MaskTrack]
"""Masks of every object in a sample's scene, with names."""

ExtraQuestions = Callable[[Sample, np.random.Generator, int], Sequence[Sample]]
"""At most so many further questions about a sample's video."""


@dataclass(frozen=True)
class SFTConfig:
    """Options of a run of `steps` batches.

    Data:
        batch: conversations per step.
        rounds, one_round: the (prompt, parser) pairs of the two-round plan and of its one-round ablation.
        one_round_share: share of conversations in one round instead of two.
        low_quality_share: share of low-quality demonstrations (`Demonstrator.low_quality`). A policy trained on both
            kinds has something to choose from when rewards come.
        extra_boxes: box rounds about any object of the scene that follow each two-round conversation.
        extra_questions: first rounds with further questions about each video; cheap, because its clip is encoded once.
        scene_steps: the first so many batches hold box rounds and captions of whole scenes, 2 x `batch` of them: naming
            and locating objects is learnt before which one a question means. Their excerpts start with two frames,
            doubled up to `num_frames` at equal intervals.
        sampler, num_frames: how the clip is drawn.

    Optimisation:
        muon_lr, adam_lr, warmup: peak learning rates, and the steps until they are reached.
        weight_decay: of Muon's matrices.
        vision_lr_scale: factor on the learning rates of the vision tower; 0 freezes it. A pretrained tower would forget
            under the first gradients of a language model that cannot read it yet.
        conversations_per_forward: a batch is scored in parts of at most so many (0: all at once). Saves memory, and
            time if lengths differ.
        bf16: autocast to bfloat16.

    Run:
        seed: batch i depends on (seed, i) alone.
        save_every: steps between checkpoints.
        workers: processes that make batches beforehand, for an accelerator that would have to wait.
    """

    steps: int = 2000
    batch: int = 32
    muon_lr: float = 0.01
    adam_lr: float = 3e-3
    weight_decay: float = 0.0
    vision_lr_scale: float = 1.0
    warmup: int = 50
    rounds: Sequence[Sequence[str]] = (("keyframe", "keyframe_json"), ("box", "box_json"))
    one_round: Sequence[str] = ("keyframe_and_box", "keyframe_and_box_json")
    one_round_share: float = 0.0
    low_quality_share: float = 0.0
    extra_boxes: int = 0
    extra_questions: int = 0
    scene_steps: int = 0
    sampler: str = "uniform"
    num_frames: int = 16
    seed: int = 0
    bf16: bool = True
    save_every: int = 200
    conversations_per_forward: int = 0
    workers: int = 0


def sft(
    policy: Any,
    dataset: Dataset,
    folder: str | Path,
    config: SFTConfig,
    *,
    all_objects: AllObjects | None = None,
    extra_questions: ExtraQuestions | None = None,
    report: Report = lambda row: None,
) -> None:
    """Train `policy` (a TrainablePolicy with a codec, such as `qwen`) in place; log and checkpoints in `folder`.

    A run that was stopped continues from its checkpoint with the same result as an uninterrupted one. Under torchrun
    the processes share each batch. `all_objects` is needed for `extra_boxes` and `scene_steps`.
    """
    tower = base_model(policy.model).model.visual
    if not config.vision_lr_scale:
        tower.requires_grad_(False)
    optimizers = muon_and_adamw(
        policy.model,
        muon_lr=config.muon_lr,
        adam_lr=config.adam_lr,
        weight_decay=config.weight_decay,
        slow=tower.parameters(),
        slow_rate=config.vision_lr_scale,
    )

    def make_batch(step: int, rows: slice) -> list[Rollout]:
        return batch(policy, dataset, config, step, all_objects, rows, extra_questions)

    def backward(rollouts: list[Rollout], accelerator: Any) -> dict[str, float]:
        return _backward(policy, config, rollouts, accelerator)

    policy.model.train()
    if run_steps(policy.model, optimizers, Path(folder), config, make_batch, backward, report):
        _save(policy, Path(folder), config)


def _backward(policy: Any, config: SFTConfig, rollouts: list[Rollout], accelerator: Any) -> dict[str, float]:
    """Adds the gradients of the mean negative log-likelihood per reply token; figures to log."""
    import torch

    device = policy.model.device
    count = sum(len(turn.reply.token_ids) for rollout in rollouts for turn in rollout.turns)
    tokens = accelerator.reduce(torch.tensor(float(count), device=device), "sum")
    total = torch.zeros((), device=device)
    for part in parts(rollouts, config.conversations_per_forward or len(rollouts)):
        with torch.autocast(device.type, torch.bfloat16, enabled=config.bf16):
            logprobs = torch.cat(policy.logprobs(part))
        loss = -logprobs.sum() / tokens
        loss.backward()
        total += loss.detach()
    return {"loss": accelerator.reduce(total, "sum").item(), "tokens": tokens.item()}


def _save(policy: Any, folder: Path, config: SFTConfig) -> None:
    policy.model.eval()
    known = {name: value for name, value in policy.defaults.items() if name != "rounds"}
    policy.defaults = {**known, "plan": config.rounds, "sampler": config.sampler, "num_frames": config.num_frames}
    save_policy(policy, folder, "the run goes on from its last checkpoint")
    output.write_text(folder / "config.sft.json", json.dumps(asdict(config), indent=2) + "\n", overwrite=True)


def batch(
    policy: Any,
    dataset: Dataset,
    config: SFTConfig,
    step: int,
    all_objects: AllObjects | None = None,
    rows: slice = slice(None),
    extra_questions: ExtraQuestions | None = None,
) -> list[Rollout]:
    """The demonstrations of one step, or those of `rows`; row r depends on (seed, step, r) alone."""
    sampler = build("sampler", config.sampler)
    one, two = (_demonstrator(policy, prompts) for prompts in ([config.one_round[0]], [p for p, _ in config.rounds]))
    scenes = step < config.scene_steps and all_objects is not None
    rollouts: list[Rollout] = []
    for row in range(config.batch * (2 if scenes else 1))[rows]:
        rng = np.random.default_rng([config.seed, step, row])
        sample, clip = draw_clip(dataset, sampler, config.num_frames, rng)
        if scenes and all_objects is not None:
            objects = all_objects(sample)
            # drawn for box rounds, too: batches stay those of the runs that made the bundled weights
            scene = one.scene(clip, rng, objects, scene_frames(step, config))
            rollouts.append(scene if row % 4 < 2 else two.boxes(sample, clip, rng, objects))
            continue
        together = bool(rng.random() < config.one_round_share)
        objects = all_objects(sample) if all_objects is not None and not together else None
        # no draw at a share of 0, for the same reason
        low = bool(config.low_quality_share) and bool(rng.random() < config.low_quality_share)
        short, long = (one.low_quality(), two.low_quality()) if low else (one, two)
        rollouts.append((short if together else long).conversation(sample, clip, rng, objects, config.extra_boxes))
        if extra_questions is not None and config.extra_questions:
            questions = extra_questions(sample, rng, config.extra_questions)
            rollouts += long.extra_questions(sample, clip, rng, questions)
    return rollouts


def _demonstrator(policy: Any, prompts: Sequence[str]) -> Demonstrator:
    def encode(text: str) -> list[int]:
        return [*policy.codec.tokenize(text), policy.codec.end_id]

    return Demonstrator(tuple(build("prompt", prompt) for prompt in prompts), encode)


def parts(rollouts: Sequence[Rollout], count: int) -> list[list[Rollout]]:
    """A batch in parts of at most `count` conversations of similar length.

    First rounds about one clip stay in one part and count as one, because their clip is encoded once for all of them.
    """
    by_clip: dict[int, list[Rollout]] = {}
    for rollout in rollouts:
        if len(rollout.turns) == 1:
            by_clip.setdefault(id(rollout.clip), []).append(rollout)
    shared = [group for group in by_clip.values() if len(group) > 1]
    alone = [r for r in rollouts if len(r.turns) > 1 or len(by_clip[id(r.clip)]) == 1]
    lengths = [sum(len(t.prompt.text) + len(t.reply.text) for t in r.turns) for r in alone]
    by_length = [[alone[i]] for i in np.argsort(lengths, kind="stable").tolist()]
    cuts = [groups[at : at + count] for groups in (by_length, shared) for at in range(0, len(groups), count)]
    return [[rollout for group in cut for rollout in group] for cut in cuts]


def scene_frames(step: int, config: SFTConfig) -> int:
    """How many frames the excerpts of a scene step have: 2, 4, 8 and so on, each for the same number of steps."""
    doublings = max(int(np.log2(config.num_frames)), 1)
    return min(2 << step * doublings // config.scene_steps, config.num_frames)
