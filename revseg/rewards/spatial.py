"""The spatial reward: whether the box is on the target."""

from revseg.grounding.boxes import box_iou
from revseg.masks import MaskTrack
from revseg.registry import register
from revseg.rewards.iou import Box, judge_boxes
from revseg.types import Rollout


@register("reward", "spatial")
def spatial(rollout: Rollout, truth: MaskTrack, *, threshold: float = 0.5, soft: bool = False) -> float:
    """1 when the IoU of the predicted and the true box on the keyframe is above `threshold`, else 0 (Sec. 3.3, r_s).

    `soft=True` gives the IoU itself where it is above the threshold. 0 unless every round parsed (Eq. 8). Several
    targets on one keyframe are judged by the box around all of them; over keyframes the mean is taken. `hungarian`
    judges object by object. Beyond the paper: when the target is visible on no sampled frame, 1 for saying so, else 0.
    """

    def judge(predicted: Box, true: Box) -> float:
        overlap = box_iou(predicted, true)
        return (overlap if soft else 1.0) if overlap > threshold else 0.0

    return judge_boxes(rollout, truth, judge)
