"""A row's prediction and truth on the same frames, and what a missing prediction counts."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool

from revseg.errors import InputError
from revseg.evaluation.results import Row
from revseg.masks import MaskTrack
from revseg.masks.metrics import Agreement, j_and_f

Missing = Literal["zero", "skip", "error"]


@dataclass(frozen=True, eq=False)
class Pair:
    """Prediction (the union of its objects) and truth (one row per object) on the frames that have a truth.

    `missing[t]` marks frames without a prediction; the prediction is empty there.
    """

    row: Row
    pred: MaskTrack
    truth: MaskTrack
    missing: Bool[np.ndarray, " t"]

    @property
    def one_truth(self) -> MaskTrack:
        """The union of the truth's objects."""
        return self.truth.union()

    @property
    def no_target(self) -> bool:
        """True when the truth is empty on every frame."""
        return not self.truth.visible.any()

    def agreement(self) -> Agreement:
        """J and F of every frame; 0 where the prediction is missing."""
        found = j_and_f(self.pred, self.one_truth)
        return Agreement(np.where(self.missing, 0.0, found.regions), np.where(self.missing, 0.0, found.contours))


def pairs(rows: Iterable[Row], missing: Missing) -> Iterator[tuple[Row, Pair | None]]:
    """Each row with its pair; None for a row without any prediction (a crash, or a sample that could not be read).

    `missing` says what those rows, and single frames without a prediction, count:

    - "zero": 0, even where the truth is empty;
    - "skip": rows are left out of the averages, and frames out of their row's average;
    - "error": InputError at the first one.

    Queries without a truth are left out. InputError for a prediction of another size than its truth.
    """
    for row in rows:
        truth, pred = row.truth, row.masks
        if truth is None and row.loaded:
            continue  # a query without a truth in the dataset
        if truth is None or pred is None:
            if missing == "error":
                raise InputError(f"query {row.query!r} (row {row.index}) has no prediction: {row.failure}")
            yield row, None
        else:
            yield row, _pair(row, pred.union(), truth, missing)


def _pair(row: Row, pred: MaskTrack, truth: MaskTrack, missing: Missing) -> Pair | None:
    if pred.size != truth.size:
        (h, w), (height, width) = pred.size, truth.size
        raise InputError(
            f"query {row.query!r}: predicted at {w}x{h}, but the truth is {width}x{height}; predict at its size"
        )
    if not len(truth):
        raise InputError(f"query {row.query!r}: the truth has no frame")
    absent = ~np.isin(truth.frame_ids, pred.frame_ids)
    if absent.any() and missing == "error":
        raise InputError(f"query {row.query!r}: no prediction for frames {truth.frame_ids[absent][:5].tolist()}")
    if absent.any() and missing == "skip":
        truth = truth.at(truth.frame_ids[~absent])
        if not len(truth):
            return None
        absent = np.zeros(len(truth), bool)
    return Pair(row, _filled(pred, truth, absent), truth, absent)


def _filled(pred: MaskTrack, truth: MaskTrack, absent: np.ndarray) -> MaskTrack:
    if not absent.any():
        return pred.at(truth.frame_ids)
    held = {int(f): pred.counts[0][i] for i, f in enumerate(pred.frame_ids)}
    nothing = MaskTrack.empty(truth.size, [0]).counts[0][0]
    return MaskTrack((tuple(held.get(int(f), nothing) for f in truth.frame_ids),), truth.size, truth.frame_ids)
