"""What a row of a results file got right, stage by stage, on the synthetic world."""

from typing import Any

import numpy as np

from revseg.errors import RevsegError
from revseg.evaluation import Row
from revseg.grounding.boxes import iou, union_box
from revseg.masks import MaskTrack
from revseg.masks.metrics import j_and_f


def judge(row: Row) -> dict[str, Any]:
    """The kind of question, what the conversation got right, and J&F of the masks that came of it.

    "absent": the reply says that nothing is there. "described": the descriptions name exactly what is asked for.
    Where no target is in the video, "keyframe_visible" and "iou_over_half" say whether the reply says so. Raises
    RevsegError for a row that crashed.
    """
    truth, masks = row.truth, row.masks
    if row.crashed or truth is None or masks is None:
        raise RevsegError(f"row {row.index} crashed or has no truth: {row.data['detail']}")
    truth = truth.union()
    seen = truth.at(row.data["frame_ids"])
    targets = [target for target in row.data["rounds"][0]["answer"]["targets"] if target["frame_id"] is not None]
    absent = row.failure is None and not targets
    values = row.data["rewards"]["values"]
    told = sorted(target["description"].strip().lower() for target in targets)
    return {
        "kind": row.meta["kind"],
        "query": row.text,
        "parsed": row.failure is None,
        "absent": absent,
        "described": told == sorted(row.meta["descriptions"]),
        "temporal": values["temporal"],
        "total": row.data["rewards"]["total"],
        "keyframe_visible": all(bool(seen.visible[seen.row(t["frame_id"])]) for t in targets) if targets else False,
        "iou_over_half": _box_fits(row, seen),
        "j_and_f": j_and_f(masks, truth).jf,
        **({} if truth.visible.any() else {"keyframe_visible": absent, "iou_over_half": absent}),
    }


def _box_fits(row: Row, seen: MaskTrack) -> bool:
    """The box around all that was grounded on the first keyframe has an IoU above 0.5 with the true one."""
    groundings = row.data["groundings"]
    if not groundings:
        return False
    first = groundings[0]["frame_id"]
    found = np.array([box for g in groundings if g["frame_id"] == first for box in g["boxes"]], np.float32)
    return float(iou(union_box(found)[None], seen.at([first]).boxes)[0, 0]) > 0.5
