"""Ref-DAVIS17, protocol A: each annotator separately, objects compete for pixels, DAVIS's unsupervised scoring.

It follows davis2017-evaluation (task "unsupervised") after the post-processing of ReferFormer and VideoLISA. The
dataset's reader gives each expression the mask of its one object as the truth, and in `meta`:

- `meta["obj_id"]`: the object's id in the palette annotation, from 1, as a number or text;
- `meta["annotator"]`: 0 to 3 (first annotator first frame, first annotator full video, second annotator likewise);
- `meta["objects"]`, optional: how many objects count, the highest id on the first frame (default: from the truths);
- `meta["counted"]`: the masks of all objects that count, a `MaskTrack` with object k in row k - 1. Without it, objects
  without an expression are unknown and left out;
- `meta["void"]`: the pixels annotated as void (255) as a `MaskTrack` on the same frames, or None without any.

`evaluate` asks the dataset's `objects(video)` and `void(video)` for the last two.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from revseg.errors import InputError
from revseg.evaluation.results import Row
from revseg.evaluation.scores.pairs import Missing, Pair, pairs
from revseg.evaluation.scores.table import QueryScore
from revseg.masks import MaskTrack
from revseg.masks.metrics import j_and_f
from revseg.masks.rle import brief

MOST_PROPOSALS = 20  # the official scorer stops with more
NOTHING = {"J": 0.0, "F": 0.0, "J&F": 0.0}


@dataclass(frozen=True)
class _Asked:
    """One expression: its row, its object's number, and the pair; None without a prediction."""

    row: Row
    number: int
    pair: Pair | None


@dataclass(eq=False)
class _Video:
    """What is shared by all annotators of a video: `truths` of the objects that count, without void."""

    truths: dict[int, MaskTrack] = field(default_factory=dict)
    void: MaskTrack | None = None
    objects: int | None = None  # how many count; None until a row of the video says it
    whole: bool = False  # `truths` is complete


@dataclass(frozen=True, eq=False)
class _Proposal:
    """A predicted object: its mask without void and earlier objects, and the frames without prediction."""

    mask: MaskTrack
    missing: np.ndarray
    shown: bool  # on some frame, void or not


def ref_davis17(rows: Iterable[Row], missing: Missing, *, identity: bool = False) -> list[QueryScore]:
    """J and F of each object of each annotator; the overall figure is the mean of the annotators' means over objects.

    As in the official scorer, the objects that count are 1 to the highest id on the first frame, with or without an
    expression (those without have a negative index). Overlapping pixels go to the expression that comes first in the
    file, as by argmax over binary masks; the official lists are sorted by the object's id as text, so 10 comes before
    2. Void pixels are ignored. All predictions are matched with objects by the best total J&F (Hungarian), so two
    swapped answers score in full. `identity=True` scores each expression on its own object, which is what *referring*
    means, and leaves out objects without an expression.

    With "zero" a missing prediction scores 0, whatever it is matched with; the official scorer stops there. More than
    20 predictions, at which it stops too, are an InputError.
    """
    judge = _own if identity else _matched
    queries = [
        query
        for video, (shared, annotators) in _videos(rows, missing).items()
        for annotator, asked in annotators.items()
        for query in judge(video, f"annotator {annotator}", shared, asked, missing)
    ]
    numbers = itertools.count(1)
    queries = [q if q.index >= 0 else replace(q, index=-next(numbers)) for q in queries]
    return sorted(queries, key=lambda query: (query.index < 0, abs(query.index)))


def _matched(video: str, group: str, shared: _Video, asked: Sequence[_Asked], missing: Missing) -> Iterator[QueryScore]:
    from scipy.optimize import linear_sum_assignment

    rows = {one.number: one.row for one in reversed(asked)}
    if shared.objects is None:  # nothing of the video could be read
        yield from (_query(video, row, n, group, {} if missing == "skip" else NOTHING, True) for n, row in rows.items())
        return
    proposals = _compete(asked, shared.void)
    proposals = proposals[: 1 + max((i for i, one in enumerate(proposals) if one is None or one.shown), default=-1)]
    if len(proposals) > MOST_PROPOSALS:
        raise InputError(
            f"{video}, {group}: {len(proposals)} predicted objects, of which the official scorer takes at most "
            f"{MOST_PROPOSALS}; use ref_davis17_strict or ref_davis17_b"
        )
    truths = sorted(shared.truths.items())
    if not truths:
        return
    nothing = MaskTrack.empty(truths[0][1].size, truths[0][1].frame_ids)
    empty = _Proposal(nothing, np.zeros(len(nothing), bool), False)
    proposals += [empty] * (len(truths) - len(proposals))
    values = [[_agreement(one, truth, missing) for _, truth in truths] for one in proposals]
    gain = np.array([[one["J&F"] for one in line] for line in values])
    for place, column in zip(*linear_sum_assignment(-gain), strict=True):
        number, lost = truths[column][0], proposals[place] is None
        found = {} if lost and missing == "skip" else values[place][column]
        yield _query(video, rows.get(number), number, group, found, lost)


def _own(video: str, group: str, shared: _Video, asked: Sequence[_Asked], missing: Missing) -> Iterator[QueryScore]:
    """Each expression is scored on its own object."""
    for one, proposal in zip(asked, _compete(asked, shared.void), strict=True):
        truth = shared.truths.get(one.number)
        if truth is None and shared.objects is not None:
            continue  # it does not count
        found = NOTHING if truth is None else _agreement(proposal, truth, missing)
        lost = proposal is None
        yield _query(video, one.row, one.number, group, {} if lost and missing == "skip" else found, lost)


def _compete(asked: Sequence[_Asked], void: MaskTrack | None) -> list[_Proposal | None]:
    """For each expression its prediction without void and pixels of earlier ones; None without a prediction."""
    hole = None if void is None else void.dense()[0]
    taken, found = None, []
    for one in asked:
        if one.pair is None or one.pair.missing.all():
            found.append(None)
            continue
        mask = one.pair.pred.dense()[0]
        free = mask if taken is None else mask & ~taken
        taken = mask if taken is None else taken | mask
        kept = MaskTrack.from_dense(free if hole is None else free & ~hole, one.pair.pred.frame_ids)
        found.append(_Proposal(kept, one.pair.missing, bool(free.any())))
    return found


def _agreement(proposal: _Proposal | None, truth: MaskTrack, missing: Missing) -> Mapping[str, float]:
    """Means over frames; a frame without a prediction counts 0, or is left out with "skip"."""
    if proposal is None:
        return NOTHING
    found, lost = j_and_f(proposal.mask, truth), proposal.missing
    kept = ~lost if missing == "skip" else np.ones(len(lost), bool)
    j, f = (float(np.where(lost, 0.0, values)[kept].mean()) for values in (found.regions, found.contours))
    return {"J": j, "F": f, "J&F": (j + f) / 2}


def _videos(rows: Iterable[Row], missing: Missing) -> dict[str, tuple[_Video, dict[int, list[_Asked]]]]:
    """Expressions by video and annotator, in the order of the file; the rows may be anywhere in it."""
    found: dict[str, tuple[_Video, dict[int, list[_Asked]]]] = {}
    for row, pair in pairs(rows, "zero" if missing == "skip" else missing):
        if row.video is None:
            raise InputError(
                f"row {row.index} could not be loaded ({row.failure}): protocol A needs every expression's object"
            )
        number, annotator = _ids(row)
        shared, annotators = found.setdefault(row.video, (_Video(), {}))
        _learn(shared, row, number)
        annotators.setdefault(annotator, []).append(_Asked(row, number, pair))
    for shared, annotators in found.values():
        if shared.objects is None and shared.truths:
            first = [n for n, t in shared.truths.items() if t.at(t.frame_ids[:1]).visible.any()]
            shared.objects = max(first, default=0)
        if shared.objects is not None:
            shared.truths = {n: t for n, t in shared.truths.items() if n <= shared.objects}
        for asked in annotators.values():
            asked.sort(key=lambda one: one.row.index)
    return found


def _learn(shared: _Video, row: Row, number: int) -> None:
    """Add what a row says about its video's truth."""
    truth, meta = row.truth, row.meta
    if truth is None:
        return
    first = next(iter(shared.truths.values()), truth)
    if first.size != truth.size or not np.array_equal(first.frame_ids, truth.frame_ids):
        raise InputError(f"query {row.query!r}: expected a truth of the size and frames of the other rows of its video")
    if not shared.truths:
        void = _of_video(row, "void", truth)
        shared.void = None if void is None else void.union()
    if shared.objects is None and isinstance(meta.get("objects"), int):
        shared.objects = meta["objects"]
    if not shared.whole and (counted := _of_video(row, "counted", truth)) is not None:
        for obj in range(counted.objects):
            shared.truths[obj + 1] = _without(counted.select([obj]), shared.void)
        shared.whole = True
    if number not in shared.truths:
        shared.truths[number] = _without(truth.union(), shared.void)


def _of_video(row: Row, name: str, truth: MaskTrack) -> MaskTrack | None:
    """Masks of the whole video from a row's `meta`, on the truth's frames."""
    if row.meta.get(name) is None:
        return None
    track = MaskTrack.from_dict(row.meta[name])
    if track.size != truth.size:
        raise InputError(
            f"query {row.query!r}: expected meta[{name!r}] of the truth's size {truth.size}, got {track.size}"
        )
    return track.at(truth.frame_ids)


def _without(track: MaskTrack, void: MaskTrack | None) -> MaskTrack:
    if void is None or not void.visible.any():
        return track
    return MaskTrack.from_dense(track.dense() & ~void.dense(), track.frame_ids)


def _ids(row: Row) -> tuple[int, int]:
    number, annotator = str(row.meta.get("obj_id")), row.meta.get("annotator")
    if not (number.isdecimal() and len(number) < 10) or int(number) < 1 or not isinstance(annotator, int):
        raise InputError(
            f"query {row.query!r}: protocol A needs meta['obj_id'] (from 1) and meta['annotator'] (0 to 3), got "
            f"{brief(row.meta.get('obj_id'))} and {brief(annotator)}"
        )
    return int(number), annotator


def _query(video: str, row: Row | None, number: int, group: str, values: Mapping[str, float], lost: bool) -> QueryScore:
    if row is not None:
        return QueryScore.of(row, values, group=group, stratum=group, missing=lost)
    return QueryScore(-1, video, f"object {number}", "", group, group, None, lost, dict(values))
