"""Benchmarks that average over expressions: J and F of each expression over its frames, then the plain mean."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from revseg.errors import InputError
from revseg.evaluation.results import Row
from revseg.evaluation.scores.pairs import Missing, Pair, pairs
from revseg.evaluation.scores.table import QueryScore
from revseg.masks import MaskTrack
from revseg.masks.metrics import j_and_f
from revseg.masks.rle import brief


def expressions(rows: Iterable[Row], missing: Missing) -> list[QueryScore]:
    """J, F and J&F per expression, and whether the answer was right about the target's absence.

    An expression without target (empty truth on every frame) has "N-acc": 1 when every predicted mask is empty; one
    with a target has "T-acc": 1 when some predicted mask is not (gRefCOCO's N-acc. and T-acc., per video).
    """
    return [_query(row, pair, missing) for row, pair in pairs(rows, missing)]


def long_rvos(rows: Iterable[Row], missing: Missing) -> list[QueryScore]:
    """J, F, and by Long-RVOS tIoU and vIoU (see `temporal`), by type of expression (`meta["type"]`)."""
    queries = []
    for row, pair in pairs(rows, missing):
        values = {**j_f(pair, missing), **temporal(pair, missing)}
        queries.append(QueryScore.of(row, values, group=group_of(row.meta), missing=pair is None))
    return queries


def groundmore(rows: Iterable[Row], missing: Missing) -> list[QueryScore]:
    """J, F, J&F, and the J&F of an answer that is empty on every frame, as a baseline.

    Outside the action the truth is empty and an empty answer is right, so this baseline is far from 0.
    """
    queries = []
    for row, pair in pairs(rows, missing):
        values = {**j_f(pair, missing), **all_empty(row, pair, missing)}
        queries.append(QueryScore.of(row, values, group=group_of(row.meta), missing=pair is None))
    return queries


def ref_sav(rows: Iterable[Row], missing: Missing) -> list[QueryScore]:
    """J, F, J&F of each expression; the overall figure is the mean of long and short ones (`meta["type"]`).

    A sample that could not be read and is not listed by its dataset has no type and counts in no figure.
    """
    queries = []
    for row, pair in pairs(rows, missing):
        kind = group_of(row.meta)
        if kind not in ("long", "short") and row.query is not None:
            raise InputError(f"query {row.query!r}: expected meta['type'] to be long or short, got {brief(kind)}")
        stratum = kind or None
        queries.append(QueryScore.of(row, j_f(pair, missing), group=kind, stratum=stratum, missing=pair is None))
    return queries


def all_empty(row: Row, pair: Pair | None, missing: Missing) -> dict[str, float]:
    """{"J&F (all empty)": ...} of the empty answer on the same frames; empty when the truth is unknown."""
    truth = pair.truth if pair is not None else row.truth if missing != "skip" else None
    if truth is None:
        return {}
    return {"J&F (all empty)": j_and_f(MaskTrack.empty(truth.size, truth.frame_ids), truth.union()).jf}


def j_f(pair: Pair | None, missing: Missing) -> dict[str, float]:
    """J, F and J&F, means over frames. Without a prediction they are zero, or left out with "skip"."""
    if pair is None:
        return {} if missing == "skip" else {"J": 0.0, "F": 0.0, "J&F": 0.0}
    found = pair.agreement()
    return {"J": found.j, "F": found.f, "J&F": found.jf}


def temporal(pair: Pair | None, missing: Missing) -> dict[str, float]:
    """tIoU: frames with both masks / frames with either. vIoU: sum of J on the former / number of the latter.

    Both are 1 when no frame has a mask. A frame without a prediction counts as a frame with the truth alone.
    """
    if pair is None:
        return {} if missing == "skip" else {"tIoU": 0.0, "vIoU": 0.0}
    pred, truth = pair.pred.visible, pair.truth.visible
    both, either = pred & truth & ~pair.missing, pred | truth | pair.missing
    if not either.any():
        return {"tIoU": 1.0, "vIoU": 1.0}
    regions = pair.agreement().regions
    return {"tIoU": float(both.sum() / either.sum()), "vIoU": float(regions[both].sum() / either.sum())}


def absence(pair: Pair | None, row: Row, missing: Missing) -> dict[str, float]:
    """{"N-acc": ...} without a target, {"T-acc": ...} with one; empty when that is unknown.

    For a sample that could not be read, `meta["no_target"]` says which.
    """
    truth = row.truth
    if pair is None and missing == "skip":
        return {}
    if truth is None:
        known = row.meta.get("no_target")
        return {"N-acc" if known else "T-acc": 0.0} if isinstance(known, bool) else {}
    empty = pair is not None and not pair.pred.visible.any()
    if truth.visible.any():
        return {"T-acc": float(pair is not None and not empty)}
    return {"N-acc": float(empty and pair is not None and not pair.missing.any())}


def group_of(meta: Mapping[str, Any]) -> str:
    """The type of an expression: `meta["type"]`, or `meta["kind"]` of the world `shapes`."""
    return str(meta.get("type", meta.get("kind", "")))


def image_iou(rows: Iterable[Row], missing: Missing) -> list[QueryScore]:
    """The IoU of each picture (1 when both masks are empty), and intersection and union in pixels for cIoU."""
    queries = []
    for row, pair in pairs(rows, missing):
        values = _areas(pair) if pair is not None else _areas_missing(row, missing)
        queries.append(QueryScore.of(row, values, group=group_of(row.meta), missing=pair is None))
    return queries


def reason_seg(rows: Iterable[Row], missing: Missing) -> list[QueryScore]:
    """I / (U + 1e-5) of each picture without the pixels of `meta["void"]`, 1 where U = 0; I and U in pixels for cIoU.

    `evaluate` asks the dataset's `void(video)` for these pixels; the truth has none of them.
    """
    queries = []
    for row, pair in pairs(rows, missing):
        values = _areas_missing(row, missing)
        if pair is not None:
            void = _void(row, pair.truth)
            pred, truth = pair.pred.dense()[0] & ~void, pair.one_truth.dense()[0] & ~void
            common, union = int((pred & truth).sum()), int((pred | truth).sum())
            values = {"IoU": common / (union + 1e-5) if union else 1.0, "intersection": common, "union": union}
        queries.append(QueryScore.of(row, values, group=group_of(row.meta), missing=pair is None))
    return queries


def _void(row: Row, truth: MaskTrack) -> np.ndarray:
    """bool[t h w]: pixels that do not count, on the truth's frames."""
    if row.meta.get("void") is None:
        return np.zeros((len(truth), *truth.size), bool)
    track = MaskTrack.from_dict(row.meta["void"])
    if track.size != truth.size or not np.isin(truth.frame_ids, track.frame_ids).all():
        raise InputError(f"query {row.query!r}: expected meta['void'] to have the size and frames of the truth")
    return track.union().at(truth.frame_ids).dense()[0]


def _areas(pair: Pair) -> dict[str, float]:
    regions = pair.agreement().regions
    total = pair.pred.areas + pair.truth.areas
    # J = I / (A + B - I), so I = J (A + B) / (1 + J); whole pixels, so rounding restores them exactly.
    common = np.round(np.where(total > 0, regions * total / (1 + regions), 0))
    return {"IoU": float(regions.mean()), "intersection": float(common.sum()), "union": float((total - common).sum())}


def _areas_missing(row: Row, missing: Missing) -> dict[str, float]:
    if missing == "skip":
        return {}
    truth = row.truth
    area = 0.0 if truth is None else float(truth.areas.sum())
    return {"IoU": 0.0, "intersection": 0.0, "union": area}


def _query(row: Row, pair: Pair | None, missing: Missing) -> QueryScore:
    values = {**j_f(pair, missing), **absence(pair, row, missing)}
    return QueryScore.of(row, values, group=group_of(row.meta), missing=pair is None)
