"""The temporal reward: how well the keyframe shows the target."""

import numpy as np

from revseg.grounding.boxes import areas
from revseg.masks import MaskTrack
from revseg.registry import register
from revseg.types import Rollout


@register("reward", "temporal")
def temporal(rollout: Rollout, truth: MaskTrack, *, soft: bool = True) -> float:
    """The size of the target's box on the chosen keyframe, from 0 (smallest, or not visible) to 1 (largest): Eq. 7.

    `1[visible at k] * (S(k) - min S) / (max S - min S)`, with S(t) the area of the true box (of all objects together)
    on sampled frame t, 0 where nothing is visible. When all frames have the same area: 1 where visible, else 0.
    `soft=False` is the 0/1 reward of Table 7: 1 when the target is visible at k.

    The keyframe counts as soon as round 1 parsed, even if round 2 failed (Eq. 8's 1[S1]). Several targets: the mean
    over them. Beyond the paper: when the target is visible on no sampled frame, 1 for saying so, else 0.
    """
    visible = truth.visible
    if not visible.any():
        return float(rollout.status == "absent")
    value = _soft(truth) if soft else visible.astype(np.float64)
    scores = [float(value[truth.row(t.frame_id)]) if t.frame_id is not None else 0.0 for t in rollout.chosen]
    return sum(scores) / len(scores) if scores else 0.0


def _soft(truth: MaskTrack) -> np.ndarray:
    """float64[t]: Eq. 7 on every frame."""
    area = areas(truth.pixel_boxes)  # not in unit coordinates, whose rounding would make equal areas differ
    low, high = area.min(), area.max()
    return (area > 0) * ((area - low) / (high - low) if high > low else 1.0)
