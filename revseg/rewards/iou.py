"""The IoU reward, and what all box rewards share."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from revseg.grounding.boxes import box_iou, union_box
from revseg.masks import MaskTrack
from revseg.registry import register
from revseg.types import Rollout

Box = Float[np.ndarray, "4"]


def judge_boxes(rollout: Rollout, truth: MaskTrack, judge: Callable[[Box, Box], float]) -> float:
    """`judge(predicted, true)` in [0, 1], averaged over the keyframes of the rollout's groundings.

    On each keyframe, the box around all predicted boxes is compared with the box around all true objects, as in the
    paper. A keyframe that does not show the target, or has no predicted box, counts 0. The result is 0 without any
    grounding (Eq. 8's 1[S1 and S2]). When the target is visible on no sampled frame: 1 for saying so, else 0.
    """
    visible = truth.visible
    if not visible.any():
        return float(rollout.status == "absent")
    predicted: dict[int, list[np.ndarray]] = {}
    for grounding in rollout.groundings:
        predicted.setdefault(truth.row(grounding.frame_id), []).extend(grounding.boxes)
    true = truth.boxes
    scores = [
        judge(union_box(np.stack(boxes)), true[row]) if boxes and visible[row] else 0.0
        for row, boxes in predicted.items()
    ]
    return float(sum(scores) / len(scores)) if scores else 0.0


@register("reward", "iou")
def iou(rollout: Rollout, truth: MaskTrack) -> float:
    """IoU of the predicted and the true box on the keyframe, in [0, 1]: the soft spatial reward, as in VLM-R1.

    For several targets, and for videos without the target, see `judge_boxes`.
    """
    return judge_boxes(rollout, truth, box_iou)
