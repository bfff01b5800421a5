"""What the training tests train on: a tiny random model, squares that move, parsers that read anything."""

from pathlib import Path
from typing import Any

import numpy as np

from revseg.masks import MaskTrack
from revseg.pipeline import ReVSeg
from revseg.testing.squares import moving_squares
from revseg.training.config import TrainConfig
from revseg.types import Answer, Clip, Query, Rollout, Sample, Target

LIMIT = 8
BOX = np.array([[0.0, 0.0, 0.5, 0.5]], np.float32)


def found(text: str, shown: Clip) -> Answer:
    """Reads a target into whatever was said, so that a random model gets to every round."""
    return Answer((Target(int(shown.frame_ids[0]), "red", BOX),))


def picky(text: str, shown: Clip) -> Answer:
    """Reads replies of an even number of letters alone, so that conversations end at different rounds."""
    return found(text, shown) if len(text) % 2 == 0 else Answer(error="odd", form=0.5)


def length(rollout: Rollout, truth: MaskTrack) -> float:
    """Long replies are good."""
    return sum(len(turn.reply.token_ids) for turn in rollout.turns) / (LIMIT * rollout.due)


def vowels(rollout: Rollout, truth: MaskTrack) -> float:
    """Replies with many different vowels are good."""
    return len(set("aeiou") & {letter for turn in rollout.turns for letter in turn.reply.text.lower()}) / 5


TWO = (("keyframe_terse:size=56", "training_world:picky"), ("box_terse:size=28", "training_world:found"))
ONE = (("keyframe_and_box_terse:size=28", "training_world:found"),)
THREE = (*TWO, ("box_terse:size=56", "training_world:picky"))
REWARDS = {"training_world:length": 1.0, "training_world:vowels": 0.5}


def samples(count: int = 5, *, truth: bool = True) -> list[Sample]:
    """Squares of different speeds, with truth or without."""
    scenes = [moving_squares(6, (32, 32), 1, step) for step in range(count)]
    return [Sample(s.video, Query(f"q{i}", "red " * (i + 1)), s.truth if truth else None) for i, s in enumerate(scenes)]


def tiny(folder: str | Path, **changes: Any) -> ReVSeg:
    settings = {"plan": TWO, "num_frames": 4, "sampler": "uniform", "rewards": REWARDS, **changes}
    return ReVSeg(policy=f"qwen:model={folder}", **settings)


def config(**changes: Any) -> TrainConfig:
    settings = {
        "steps": 4,
        "queries_per_step": 2,
        "group_size": 3,
        "lr": 1e-2,
        "max_new_tokens": LIMIT,
        "save_every": 2,
    }
    return TrainConfig(**{"objective": "grpo:beta=0.05", "samples_every": 2, **settings, **changes})
