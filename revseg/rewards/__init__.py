"""Rule-based rewards: functions of a rollout and its truth, in [0, 1], one per file; `score` adds them up."""

from revseg.rewards.box_l1 import box_l1
from revseg.rewards.format import format
from revseg.rewards.hungarian import hungarian
from revseg.rewards.iou import iou
from revseg.rewards.no_target import no_target
from revseg.rewards.overlong import overlong
from revseg.rewards.repetition import repetition
from revseg.rewards.score import PRESETS, Rewards, batched, resolve_weights, reward_name, score
from revseg.rewards.spatial import spatial
from revseg.rewards.temporal import temporal

__all__ = [
    "PRESETS",
    "Rewards",
    "batched",
    "box_l1",
    "format",
    "hungarian",
    "iou",
    "no_target",
    "overlong",
    "repetition",
    "resolve_weights",
    "reward_name",
    "score",
    "spatial",
    "temporal",
]
