"""Which stage a row's errors come from: form, keyframe, box or tracker, each measured against the truth."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

from revseg.evaluation.results import Row
from revseg.evaluation.scores.expressions import group_of
from revseg.grounding import boxes
from revseg.masks import MaskTrack
from revseg.masks.metrics import region

TINY = 0.25  # of the largest box area on the frames shown: a keyframe below it shows the target tiny
ON_TARGET = 0.5  # IoU of a box, as in the paper's spatial reward
LOST = 0.1  # J below which a mask is not on the target any more
LOST_FRAMES = 0.25  # share of the target's frames; the tracker is blamed if more are lost
GOOD = 0.5  # mean J on the target's frames from which a row is fine, whatever its stages are


@dataclass(frozen=True)
class Stages:
    """One row's stages. None: unknown, for lack of a truth, or not reached. Shares and IoUs are in [0, 1]."""

    index: int
    video: str
    query: str
    text: str
    group: str  # the query's type
    failure: str | None
    form: float  # share of the format rules met, over the rounds that were due
    rewards: Mapping[str, float] | None
    total: float | None  # their weighted sum
    shown: bool | None  # is the target visible on some frame that the policy saw
    absent: bool  # the reply says that the target is not in the video
    keyframe: float | None  # area of the target's box there over its largest on the frames shown; 0: hidden
    by_chance: float | None  # share of the frames shown that hide it or show it tiny
    box: float | None  # IoU with the true box on the keyframe, mean over keyframes; on those where it is visible
    readings: Mapping[str, float]  # the same IoU if the numbers are read in another convention, by convention
    j: float | None  # mean over the truth's frames; 0 where there is no prediction
    covered: float | None  # the same over the frames with the target only
    lost: float | None  # share of the frames with the target where the masks miss it
    gone: float | None  # share of these lost frames where the mask is empty, rather than elsewhere
    cut_off: bool = False  # a reply ended at the token limit

    @property
    def kind(self) -> str:
        """What went wrong first, in words; "fine" when nothing important did, "not judged" without a truth."""
        if self.failure is not None:
            return self.failure
        if self.j is None:
            return "not judged"
        if self.shown is not None and self.shown == self.absent:
            return "said absent" if self.absent else "said present"
        if (self.j if self.covered is None else self.covered) >= GOOD:
            return "fine"
        if self.keyframe is not None and self.keyframe < TINY:
            return "keyframe tiny" if self.keyframe else "keyframe hidden"
        if self.box is not None and self.box <= ON_TARGET:
            return "box off target"
        return "tracker lost it" if self.lost is not None and self.lost > LOST_FRAMES else "other"


def stages_of(row: Row) -> Stages:
    """Measures one row."""
    truth, pred = row.truth, row.masks
    shown, keyframe, by_chance = _keyframes(row, truth)
    box, readings = _boxes(row, truth)
    j, covered, lost, gone = _masks(pred, truth)
    absent = row.data.get("status") == "absent"
    return Stages(
        row.index,
        row.video or "",
        row.query or "",
        row.text,
        group_of(row.meta),
        row.failure,
        float(row.data.get("form") or 0.0),
        (row.data.get("rewards") or {}).get("values"),
        (row.data.get("rewards") or {}).get("total"),
        shown,
        absent,
        keyframe,
        by_chance,
        box,
        readings,
        j,
        covered,
        lost,
        gone,
        row.cut_off,
    )


def keyframes_of(row: Row) -> list[int]:
    """The frames of the source that the reply chose, even if a later round failed; in order, without repeats."""
    for turn in reversed(row.data.get("rounds") or []):
        chosen = [t["frame_id"] for t in turn["answer"]["targets"] if t["frame_id"] is not None]
        if turn["answer"]["error"] is None and chosen:
            return [int(frame_id) for frame_id in dict.fromkeys(chosen)]
    return []


def _keyframes(row: Row, truth: MaskTrack | None) -> tuple[bool | None, float | None, float | None]:
    ids = row.data.get("frame_ids") or []
    if truth is None or not ids or not np.isin(ids, truth.frame_ids).all():
        return None, None, None
    area = boxes.areas(truth.at(ids).boxes)
    if not area.any():
        return False, None, None
    share = area / area.max()
    of = dict(zip(ids, share.tolist(), strict=True))
    chosen = [of[frame] for frame in keyframes_of(row)]
    return True, float(np.mean(chosen)) if chosen else None, float((share < TINY).mean())


def _boxes(row: Row, truth: MaskTrack | None) -> tuple[float | None, dict[str, float]]:
    """IoU of the union of predicted boxes with the true box, mean over the keyframes that show the target."""
    placed: dict[int, list[list[float]]] = {}
    for grounding in row.data.get("groundings") or []:
        placed.setdefault(int(grounding["frame_id"]), []).extend(grounding["boxes"])
    if truth is None:
        return None, {}
    where = [f for f in placed if placed[f] and f in truth.frame_ids.tolist()]
    pairs = [(boxes.union_box(np.asarray(placed[f])), truth.at([f]).boxes[0]) for f in where]
    pairs = [(found, true) for found, true in pairs if true.any()]
    if not pairs:
        return None, {}
    scale = _picture(row)
    # Parsers clip boxes at the picture's edge, so these are lower bounds of how well another convention fits.
    conventions = {
        "x and y swapped": lambda b: b[[1, 0, 3, 2]],
        "x, y, width, height": lambda b: np.concatenate([b[:2], b[:2] + b[2:]]),
        "thousandths of the picture": lambda b: b * scale / 1000,
        "pixels of the picture": lambda b: b * 1000 / scale,
    }
    return _mean_iou(pairs), {name: _mean_iou([(read(b), t) for b, t in pairs]) for name, read in conventions.items()}


def _picture(row: Row) -> Float64[np.ndarray, "4"]:
    """Width, height, width, height of the picture that the last box was read from."""
    shown = [clip["size"] for turn in row.data.get("rounds") or [] for clip in turn["shown"]]
    height, width = shown[-1] if shown else row.data["video"]["size"]
    return np.array([width, height, width, height], np.float64)


def _mean_iou(pairs: list[tuple[Any, Any]]) -> float:
    return float(np.mean([boxes.box_iou(found, true) for found, true in pairs]))


def _masks(pred: MaskTrack | None, truth: MaskTrack | None) -> tuple[float | None, ...]:
    """J, J on the target's frames, the share of these that are lost, and the share of the lost with an empty mask."""
    if truth is None or not len(truth):
        return None, None, None, None
    there, values = truth.visible, np.zeros(len(truth))
    if pred is None or pred.size != truth.size:
        return 0.0, 0.0 if there.any() else None, None, None
    predicted = np.isin(truth.frame_ids, pred.frame_ids)
    one = pred.union().at(truth.frame_ids[predicted])
    values[predicted] = region(one, truth.union().at(truth.frame_ids[predicted]))
    j = float(values.mean())
    if not there.any():
        return j, None, None, None
    covered = float(values[there].mean())
    if not pred.visible.any():
        return j, covered, None, None
    missed = there & predicted & (values < LOST)
    empty = ~one.visible[missed[predicted]]
    lost = float(missed.sum() / max((there & predicted).sum(), 1))
    return j, covered, lost, float(empty.mean()) if len(empty) else None
