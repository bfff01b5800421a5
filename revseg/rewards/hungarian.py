"""The Hungarian reward: predicted boxes matched one to one with true objects."""

import numpy as np

from revseg.grounding.boxes import box_iou
from revseg.masks import MaskTrack
from revseg.registry import register
from revseg.types import Rollout

Placed = list[tuple[int, np.ndarray]]  # (row of the truth, box) of one predicted object


@register("reward", "hungarian")
def hungarian(rollout: Rollout, truth: MaskTrack) -> float:
    """Sum of the IoUs of matched pairs over max(predicted boxes, objects to find), in [0, 1].

    Boxes and true objects are matched one to one so that the sum is greatest (Veason-R1, VisionReasoner). The objects
    to find are those visible on one of the chosen keyframes; the choice itself is rewarded by `temporal`. An object
    grounded on several keyframes counts once, with its mean IoU. When the target is visible on no sampled frame: 1 for
    saying so, else 0. 0 when a round failed.
    """
    if not truth.visible.any():
        return float(rollout.status == "absent")
    predicted = _predicted(rollout, truth)
    keyframes = sorted({keyframe for object_ in predicted for keyframe, _ in object_})
    boxes = [truth.select([o]).boxes for o in range(truth.objects)]
    to_find = [track for track in boxes if track[keyframes].any()]
    if not predicted or not to_find:
        return 0.0
    from scipy.optimize import linear_sum_assignment

    overlap = np.array(
        [[np.mean([box_iou(box, track[k]) for k, box in object_]) for track in to_find] for object_ in predicted]
    )
    rows, columns = linear_sum_assignment(overlap, maximize=True)
    return float(min(1.0, overlap[rows, columns].sum() / max(overlap.shape)))


def _predicted(rollout: Rollout, truth: MaskTrack) -> list[Placed]:
    """The predicted objects: each box is one, but an object grounded on several keyframes is one in all."""
    by_object: dict[int, list[Placed]] = {}
    for grounding in rollout.groundings:
        here = [(truth.row(grounding.frame_id), box) for box in grounding.boxes]
        by_object.setdefault(grounding.object_id, []).append(here)
    predicted: list[Placed] = []
    for rows in by_object.values():
        if len(rows) == 1:
            predicted += [[placed] for placed in rows[0]]
        else:
            predicted.append([placed for row in rows for placed in row])
    return [object_ for object_ in predicted if object_]
