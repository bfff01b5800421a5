"""The L1 reward: how far the box's sides are off."""

import numpy as np

from revseg.masks import MaskTrack
from revseg.registry import register
from revseg.rewards.iou import Box, judge_boxes
from revseg.types import Rollout


@register("reward", "box_l1")
def box_l1(rollout: Rollout, truth: MaskTrack, *, scale: float = 0.1, soft: bool = True) -> float:
    """How near the four sides of the box are: 1 when exact, falling in a line to 0 at a mean distance of `scale`.

    Distances are fractions of the frame's width and height. `soft=False` is 1 when the mean distance is below `scale`,
    else 0: Seg-Zero's rule, whose 10 pixels on an 840-pixel picture are `scale=0.012`. Unlike IoU it tells a near
    miss of a small object from a far one. Several targets and videos without the target: see `judge_boxes`.
    """

    def judge(predicted: Box, true: Box) -> float:
        distance = float(np.abs(predicted.astype(np.float64) - true).mean())
        return max(0.0, 1.0 - distance / scale) if soft else float(distance < scale)

    return judge_boxes(rollout, truth, judge)
