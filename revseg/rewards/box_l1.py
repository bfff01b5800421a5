"""The L1 reward: the distance of the box's sides from the true ones."""

import numpy as np

from revseg.masks import MaskTrack
from revseg.registry import register
from revseg.rewards.iou import Box, judge_boxes
from revseg.types import Rollout


@register("reward", "box_l1")
def box_l1(rollout: Rollout, truth: MaskTrack, *, scale: float = 0.1, soft: bool = True) -> float:
    """1 for an exact box, falling linearly to 0 at a mean distance of `scale` between the boxes' four sides.

    Distances are fractions of the frame's width and height. `soft=False` gives 1 when the mean distance is below
    `scale`, else 0, which is Seg-Zero's rule (its 10 pixels on an 840-pixel picture are `scale=0.012`). Unlike IoU it
    distinguishes near from far misses of small objects. For several targets, and for videos without the target, see
    `judge_boxes`.
    """

    def judge(predicted: Box, true: Box) -> float:
        distance = float(np.abs(predicted.astype(np.float64) - true).mean())
        return max(0.0, 1.0 - distance / scale) if soft else float(distance < scale)

    return judge_boxes(rollout, truth, judge)
