"""ReVOS: referring, reasoning, and their mean; pixel accuracy A, and the three definitions of robustness R."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np

from revseg.errors import InputError
from revseg.evaluation.results import Row
from revseg.evaluation.scores.expressions import j_f
from revseg.evaluation.scores.pairs import Missing, Pair, pairs
from revseg.evaluation.scores.table import QueryScore
from revseg.masks.rle import MAX_PIXELS, brief

Robustness = Literal["paper", "legacy_01", "legacy_255"]
TYPES = ("referring", "reasoning", "no target")
MODES = ("paper", "legacy_01", "legacy_255")
STRATA = ("referring", "reasoning")  # expressions without target are scored, but not part of the overall figures


def revos(
    rows: Iterable[Row],
    missing: Missing,
    *,
    robustness: Robustness = "paper",
    accuracy: Robustness | None = None,
    rounding: bool = True,
) -> list[QueryScore]:
    """J, F, A (and R) per expression, in percent rounded to two decimals before averaging, like the official script.

    `rounding=False` does not round. `robustness`:

    - "paper": R of R2-VOS (arXiv 2207.01203), one figure for the run; see `robustness_of_run`. Queries carry
      "false_area" and "true_area";
    - "legacy_01": what the official script computes from 0/1 masks: per frame max(0, 1 - false area / area of all
      annotated objects), on every type of expression;
    - "legacy_255": what it computes when it reads predictions from PNG files of 0/255, as published figures do: there
      A compares 255 with 1, and R mostly collapses to 0.

    `accuracy` is the same choice for A, the share of correct pixels; by default it follows `robustness`, since the
    script reads its masks once. With "paper", A uses the union of overlapping objects.

    The legacy modes add up 8-bit masks as that script does, which overflow where annotated objects overlap. For R they
    need `meta["foreground_areas"]`.
    """
    check_modes(robustness, accuracy)
    queries = []
    for row, pair in pairs(rows, missing):
        group = _type(row)
        values = {**j_f(pair, missing), **_accuracy(pair, missing, robustness, accuracy or robustness)}
        if robustness == "paper":
            values |= _areas(pair, row, group, missing)
        if rounding:
            values = {k: v if "area" in k else float(np.round(100 * np.float64(v), 2)) / 100 for k, v in values.items()}
        stratum = group if group in STRATA else None
        queries.append(QueryScore.of(row, values, group=group, stratum=stratum, missing=pair is None))
    return queries


def check_modes(robustness: str, accuracy: str | None) -> None:
    """InputError for an unknown mode."""
    for option, value in (("robustness", robustness), ("accuracy", accuracy or robustness)):
        if value not in MODES:
            raise InputError(f'expected {option} "paper", "legacy_01" or "legacy_255", got {value!r}')


def robustness_of_run(queries: Sequence[QueryScore]) -> float | None:
    """R = 1 - (area predicted where there is no target) / (true area of all other expressions), at least 0.

    None without expressions of both kinds. A missing prediction for an expression without target counts as a mask of
    the whole frame.
    """
    false = sum(query.values.get("false_area", 0.0) for query in queries)
    true = sum(query.values.get("true_area", 0.0) for query in queries)
    if not true or not any("false_area" in query.values for query in queries):
        return None
    return max(0.0, 1 - false / true)


def _accuracy(pair: Pair | None, missing: Missing, robustness: Robustness, accuracy: Robustness) -> dict[str, float]:
    legacy = robustness != "paper"
    if pair is None:
        return {} if missing == "skip" else {"A": 0.0, **({"R": 0.0} if legacy else {})}
    areas = _foreground(pair) if legacy else np.zeros(len(pair.truth))
    right, kept = [], []
    for i, frame in enumerate(pair.truth.frame_ids.tolist()):
        pred = pair.pred.dense([int(frame)])[0, 0].astype(np.uint8)
        truth = pair.truth.dense([int(frame)])[:, 0].sum(0).astype(np.uint8)
        false = ((np.uint8(1) - truth) * (pred * _scale(robustness))).sum(dtype=np.uint64) if legacy else 0
        lost = bool(pair.missing[i])
        compared = truth if accuracy != "paper" else np.minimum(truth, np.uint8(1))
        right.append(0.0 if lost else float(np.mean(compared == pred * _scale(accuracy))))
        kept.append(0.0 if lost else max(1 - float(false) / (float(areas[i]) + 1e-6), 0.0))
    return {"A": float(np.mean(right)), **({"R": float(np.mean(kept))} if legacy else {})}


def _scale(mode: Robustness) -> np.uint8:
    """The value of a predicted pixel."""
    return np.uint8(255 if mode == "legacy_255" else 1)


def _areas(pair: Pair | None, row: Row, group: str, missing: Missing) -> dict[str, float]:
    truth = row.truth
    if truth is None or (pair is None and missing == "skip"):
        return {}
    if group != "no target":
        return {"true_area": float(truth.areas.sum())}
    full = float(truth.size[0] * truth.size[1])
    if pair is None:
        return {"false_area": full * len(truth)}
    return {"false_area": float(np.where(pair.missing, full, pair.pred.areas).sum())}


def _foreground(pair: Pair) -> np.ndarray:
    row = pair.row
    areas = row.meta.get("foreground_areas")
    truth = row.truth
    if truth is None or not isinstance(areas, list) or len(areas) != len(truth) or not all(map(_is_area, areas)):
        raise InputError(
            f"query {row.query!r}: the legacy R needs meta['foreground_areas'], the pixels of all annotated objects on "
            "each frame of the truth; use robustness='paper'"
        )
    held = dict(zip(truth.frame_ids.tolist(), areas, strict=True))
    return np.array([held[frame] for frame in pair.truth.frame_ids.tolist()], np.float64)


def _is_area(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= MAX_PIXELS


def _type(row: Row) -> str:
    if row.query is None:
        return ""  # not readable, and not listed by its dataset
    kind = row.meta.get("type_id", row.meta.get("type"))
    if isinstance(kind, int) and 0 <= kind < len(TYPES):
        return TYPES[kind]
    if kind not in TYPES:
        raise InputError(
            f"query {row.query!r}: expected meta['type'] to be one of {', '.join(TYPES)}, got {brief(kind)}"
        )
    return kind
