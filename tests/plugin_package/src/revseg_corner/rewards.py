"""A reward from outside."""

from revseg.masks import MaskTrack
from revseg.types import Rollout


def corner(rollout: Rollout, truth: MaskTrack, *, reach: float = 0.5) -> float:
    """1 when the box starts at the target's upper left corner, 0 once it is `reach` of the frame away."""
    if not rollout.groundings:
        return 0.0
    found = rollout.groundings[0]
    row = truth.row(found.frame_id)
    if not truth.visible[row]:
        return 0.0
    away = abs(found.boxes[0, :2] - truth.boxes[row, :2]).max()
    return max(0.0, 1 - float(away) / reach)
