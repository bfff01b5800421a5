"""The IoU reward, and the rules that all box rewards share."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from revseg.grounding import boxes
from revseg.masks import MaskTrack
from revseg.registry import register
from revseg.types import Rollout

Box = Float[np.ndarray, "4"]


def box_iou(a: Box, b: Box) -> float:
    """IoU of two boxes, in [0, 1]."""
    return float(boxes.iou(a[None], b[None])[0, 0])


def judge_boxes(rollout: Rollout, truth: MaskTrack, judge: Callable[[Box, Box], float]) -> float:
    """`judge(predicted, true)` in [0, 1], averaged over the keyframes that the rollout grounded something on.

    On each keyframe the box around everything predicted there meets the box around all true objects (the union the
    paper's rewards read); a keyframe without the target, or without a predicted box, counts 0. 0 when nothing was
    grounded (Eq. 8's 1[S1 and S2]). When the target is visible on no sampled frame: 1 for saying so, else 0.
    """
    visible = truth.visible
    if not visible.any():
        return float(rollout.status == "absent")
    predicted: dict[int, list[np.ndarray]] = {}
    for grounding in rollout.groundings:
        predicted.setdefault(truth.row(grounding.frame_id), []).extend(grounding.boxes)
    true = truth.boxes
    scores = [
        judge(boxes.union_box(np.stack(found)), true[row]) if found and visible[row] else 0.0
        for row, found in predicted.items()
    ]
    return float(sum(scores) / len(scores)) if scores else 0.0


@register("reward", "iou")
def iou(rollout: Rollout, truth: MaskTrack) -> float:
    """IoU of the predicted and the true box on the keyframe, in [0, 1] (VLM-R1's soft form of the spatial reward).

    Several targets and videos without the target: see `judge_boxes`.
    """
    return judge_boxes(rollout, truth, box_iou)
