"""The no-target reward: whether the policy knows when the target is not in the video."""

from revseg.masks import MaskTrack
from revseg.registry import register
from revseg.types import Rollout


@register("reward", "no_target")
def no_target(rollout: Rollout, truth: MaskTrack) -> float:
    """1 when the rollout says "not in the video" if and only if the target is visible on no sampled frame, else 0.

    0 for a rollout that failed to parse, or stopped before its last round without saying so. For the no-target queries
    of MeViS v2 and ReVOS; the paper has no such term.
    """
    if rollout.status == "absent":
        return float(not truth.visible.any())
    return float(rollout.status == "found" and bool(truth.visible.any()))
