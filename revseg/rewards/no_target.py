"""The no-target reward: does the policy know when there is nothing to find."""

from revseg.masks import MaskTrack
from revseg.registry import register
from revseg.types import Rollout


@register("reward", "no_target")
def no_target(rollout: Rollout, truth: MaskTrack) -> float:
    """1 when the rollout says "not in the video" exactly if the truth is visible on no sampled frame, else 0.

    A rollout that failed to parse, or stopped before its last round without saying so, earns 0. Asked for by the
    no-target queries of MeViS v2 and ReVOS; the paper has no such term.
    """
    if rollout.status == "absent":
        return float(not truth.visible.any())
    return float(rollout.status == "found" and bool(truth.visible.any()))
