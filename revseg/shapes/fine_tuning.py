"""Supervised fine-tuning on expert conversations: how the bundled policy learnt to answer before any reward."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from revseg import checked, output
from revseg.masks import MaskTrack
from revseg.policies.hf.inputs import base_model
from revseg.registry import build
from revseg.shapes.demonstrations import Expert
from revseg.shapes.supervised import Report, run_steps
from revseg.training.folder import save_policy
from revseg.training.optimizers import muon_and_adamw
from revseg.types import Dataset, Rollout, Sample

Asides = Callable[[Sample, np.random.Generator, int], Sequence[Sample]]


@dataclass(frozen=True)
class SFTConfig:
    """A run of `steps` batches. `single` is the share of conversations held in one round instead of two,
    and `hasty` that of those whose expert is in a hurry (`Expert.hasty`): a policy that was taught both manners has
    something to choose from when rewards come.

    `extra` box rounds about any object of the scene follow each two-round one; beside each come the first rounds of
    `asides` other questions about its video, because they cost little beside its clip. The first `boxes_first` batches
    hold box rounds and descriptions of whole scenes, twice as many in all: naming and finding things is learnt before
    telling which is meant. Scenes start with two frames; their number doubles up to `num_frames` at equal intervals.
    The vision tower learns at `tower_rate` of the rates: one that can see already would lose it to the first steps of a
    language model that cannot read it, and at 0 it stays as it is. A batch is scored in parts of `rows` conversations
    (0: whole), which takes less memory, and less time where their lengths differ. `workers` processes make batches
    ahead, for an accelerator that would have to wait.
    """

    steps: int = 2000
    batch: int = 32
    muon_lr: float = 0.01
    adam_lr: float = 3e-3
    weight_decay: float = 0.0  # of Muon's matrices
    tower_rate: float = 1.0
    warmup: int = 50
    rounds: Sequence[Sequence[str]] = (("keyframe", "keyframe_json"), ("box", "box_json"))
    single_round: Sequence[str] = ("keyframe_and_box", "keyframe_and_box_json")
    single: float = 0.0
    hasty: float = 0.0
    extra: int = 0
    asides: int = 0
    boxes_first: int = 0
    sampler: str = "uniform"
    num_frames: int = 16
    seed: int = 0
    bf16: bool = True
    save_every: int = 200
    rows: int = 0
    workers: int = 0


def sft(
    policy: Any,
    dataset: Dataset,
    folder: str | Path,
    config: SFTConfig,
    *,
    others: Callable[[Sample], MaskTrack] | None = None,
    asides: Asides | None = None,
    report: Report = lambda row: None,
) -> None:
    """Train `policy` (a TrainablePolicy with an encoder, such as `qwen`) in place; logs and checkpoints in `folder`.

    Batch i is drawn from (seed, i) alone, so a run that was stopped goes on from its checkpoint as if it had not been.
    Under torchrun the processes share each batch.
    `others(sample)` gives all objects of a scene, with names, for the extra box rounds; `asides(sample, rng, count)`
    other questions about its video.
    """
    import torch

    folder = Path(folder)
    tower = base_model(policy.model).model.visual
    if not config.tower_rate:
        tower.requires_grad_(False)
    optimizers = muon_and_adamw(
        policy.model,
        muon_lr=config.muon_lr,
        adam_lr=config.adam_lr,
        weight_decay=config.weight_decay,
        slow=tower.parameters(),
        slow_rate=config.tower_rate,
    )

    def make(step: int, rows: slice) -> list[Rollout]:
        return batch(policy, dataset, config, step, others, rows, asides)

    def learn(rollouts: list[Rollout], accelerator: Any) -> dict[str, float]:
        device = policy.model.device
        said = sum(len(turn.reply.token_ids) for rollout in rollouts for turn in rollout.turns)
        tokens = accelerator.reduce(torch.tensor(float(said), device=device), "sum")
        total = torch.zeros((), device=device)
        for some in parts(rollouts, config.rows or len(rollouts)):
            with torch.autocast(device.type, torch.bfloat16, enabled=config.bf16):
                scores = torch.cat(policy.logprobs(some))
            loss = -scores.sum() / tokens
            loss.backward()
            total += loss.detach()
        return {"loss": accelerator.reduce(total, "sum").item(), "tokens": tokens.item()}

    policy.model.train()
    if not run_steps(policy.model, optimizers, folder, config, make, learn, report):
        return
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
    others: Callable[[Sample], MaskTrack] | None = None,
    rows: slice = slice(None),
    asides: Asides | None = None,
) -> list[Rollout]:
    """The expert conversations of one step, or those of `rows`; each is drawn from (seed, step, row) alone."""
    sampler = build("sampler", config.sampler)
    plans = [[prompt for prompt, _ in config.rounds], [config.single_round[0]]]
    two, one = (Expert(tuple(build("prompt", p) for p in plan), lambda text: _tokens(policy, text)) for plan in plans)
    first = step < config.boxes_first and others is not None
    rollouts = []
    for row in range(config.batch * (2 if first else 1))[rows]:
        rng = np.random.default_rng([config.seed, step, row])
        index = int(rng.integers(len(dataset)))
        sample = checked.sample(dataset, dataset[index], index)
        found = sampler(sample.video, sample.query, config.num_frames)
        clip = checked.clip(sampler, found, sample.video, config.num_frames)
        if first and others is not None:
            seen = others(sample)
            told = one.scene(clip, rng, seen, scene_frames(step, config))
            rollouts.append(told if row % 4 < 2 else two.boxes(sample, clip, rng, seen))
            continue
        alone = bool(rng.random() < config.single)
        scene = others(sample) if others is not None and not alone else None
        # without haste no number is drawn, so that batches are those of runs from before there was any
        hurried = bool(config.hasty) and bool(rng.random() < config.hasty)
        short, long = (one.hasty(), two.hasty()) if hurried else (one, two)
        rollouts.append((short if alone else long).conversation(sample, clip, rng, scene, config.extra))
        if asides is not None and config.asides:
            rollouts += long.asides(sample, clip, rng, asides(sample, rng, config.asides))
    return rollouts


def parts(rollouts: Sequence[Rollout], rows: int) -> list[list[Rollout]]:
    """A batch in parts of at most `rows` conversations of like length; first rounds about one clip, which is then read
    once for all of them, count as one."""
    about: dict[int, list[Rollout]] = {}
    for rollout in rollouts:
        if len(rollout.turns) == 1:
            about.setdefault(id(rollout.clip), []).append(rollout)
    units = [asked for asked in about.values() if len(asked) > 1]
    alone = [r for r in rollouts if len(r.turns) > 1 or len(about[id(r.clip)]) == 1]
    lengths = [sum(len(t.prompt.text) + len(t.reply.text) for t in r.turns) for r in alone]
    alike = [[alone[i]] for i in np.argsort(lengths, kind="stable").tolist()]
    cuts = [some[at : at + rows] for some in (alike, units) for at in range(0, len(some), rows)]
    return [[rollout for unit in cut for rollout in unit] for cut in cuts]


def scene_frames(step: int, config: SFTConfig) -> int:
    """How many frames a scene of the first stage has: 2, 4, 8 and so on, each for as many steps."""
    doublings = max(int(np.log2(config.num_frames)), 1)
    return min(2 << step * doublings // config.boxes_first, config.num_frames)


def _tokens(policy: Any, text: str) -> list[int]:
    encoder = policy.encoder
    return [*encoder.tokenizer(text, add_special_tokens=False)["input_ids"], encoder.end_id]
