"""Ref-DAVIS17, protocol A: the four annotators apart, objects that compete for pixels, DAVIS's unsupervised scoring.

What the reader has to give with each expression: the truth is the mask of its one object, and

- `meta["obj_id"]`: the object's id in the palette annotation, from 1, as a number or text;
- `meta["annotator"]`: 0 to 3 (first annotator first frame, first annotator full video, second annotator likewise);
- `meta["objects"]`, optional: how many objects count, the highest id on the first frame (else found from the truths);
- `meta["void"]`: the pixels annotated as void (255) as a `MaskTrack` on the same frames, or None without any.
  `evaluate` asks the dataset's `void(video)` for it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from revseg.errors import InputError
from revseg.evaluation.results import Row
from revseg.evaluation.scores.pairs import Missing, Pair, pairs
from revseg.evaluation.scores.table import QueryScore
from revseg.masks import MaskTrack
from revseg.metrics import j_and_f


@dataclass(frozen=True, eq=False)
class _Scene:
    """One video as one annotator described it: the pair of each object (None: no prediction), and the void."""

    rows: Mapping[int, Row]
    pairs: Mapping[int, Pair | None]
    truths: Mapping[int, MaskTrack]
    void: MaskTrack | None


def ref_davis17(rows: Iterable[Row], missing: Missing, *, identity: bool = False) -> list[QueryScore]:
    """J and F of each object of each annotator; the overall figure is the mean of the annotators' means over objects.

    Overlapping predictions go to the object with the lower id, as the argmax over binary masks does. Void pixels
    count neither way. Predictions are matched with objects by the best total of J&F (Hungarian), so that two
    expressions answered with each other's object score in full; `identity=True` keeps each with its own, which is what
    *referring* asks for. Objects that the first frame does not show beyond the highest id there are left out, as
    officially. An object without prediction scores 0 under "zero", whatever it is matched with.
    """
    queries = []
    for scene in _scenes(rows, missing):
        queries += _score(scene, missing, identity)
    return sorted(queries, key=lambda query: query.index)


def _score(scene: _Scene, missing: Missing, identity: bool) -> list[QueryScore]:
    objects = [number for number in sorted(scene.truths) if number <= _counted(scene)]
    proposals = _compete(scene)
    values = {
        (proposal, number): _agreement(proposals.get(proposal), scene, number)
        for proposal in objects
        for number in objects
        if not identity or proposal == number
    }
    queries = []
    for proposal, number in _match(objects, values, identity):
        row, lost = scene.rows.get(number), proposal not in proposals
        if row is None:
            continue
        found = {} if lost and missing == "skip" else values[proposal, number]
        group = f"annotator {row.meta['annotator']}"
        queries.append(QueryScore.of(row, found, group=group, stratum=group, missing=lost))
    return queries


def _counted(scene: _Scene) -> int:
    """How many objects the official scorer counts: the highest id on the first frame."""
    told = [row.meta["objects"] for row in scene.rows.values() if isinstance(row.meta.get("objects"), int)]
    shown = [number for number, truth in scene.truths.items() if truth.at(truth.frame_ids[:1]).visible.any()]
    return told[0] if told else max(shown, default=0)


def _compete(scene: _Scene) -> dict[int, MaskTrack]:
    """Per object its prediction without void and without pixels of an object before it."""
    taken = None if scene.void is None else scene.void.dense()[0]
    found = {}
    for number in sorted(scene.pairs):
        pair = scene.pairs[number]
        if pair is not None:
            mask = pair.pred.dense()[0]
            free = mask if taken is None else mask & ~taken
            taken = mask if taken is None else taken | mask
            found[number] = MaskTrack.from_dense(free, pair.pred.frame_ids)
    return found


def _agreement(pred: MaskTrack | None, scene: _Scene, number: int) -> dict[str, float]:
    if pred is None:
        return {"J": 0.0, "F": 0.0, "J&F": 0.0}
    found = j_and_f(pred, scene.truths[number])
    return {"J": found.j, "F": found.f, "J&F": found.jf}


def _match(
    objects: list[int], values: Mapping[tuple[int, int], Mapping[str, float]], identity: bool
) -> list[tuple[int, int]]:
    if identity:
        return [(number, number) for number in objects]
    from scipy.optimize import linear_sum_assignment

    if not objects:
        return []
    gain = np.array([[values[proposal, number]["J&F"] for number in objects] for proposal in objects])
    chosen = zip(*linear_sum_assignment(-gain), strict=True)
    return [(objects[proposal], objects[number]) for proposal, number in chosen]


def _scenes(rows: Iterable[Row], missing: Missing) -> Iterable[_Scene]:
    """Held together by (video, annotator); their rows may lie anywhere in the file."""
    found: dict[tuple[str, int], dict[int, tuple[Row, Pair | None]]] = {}
    truths: dict[str, dict[int, MaskTrack]] = {}
    voids: dict[str, MaskTrack | None] = {}
    for row, pair in pairs(rows, "zero" if missing == "skip" else missing):
        truth = row.truth
        if truth is None or row.video is None:
            raise InputError(
                f"row {row.index} could not be loaded ({row.failure}): protocol A needs every object's truth"
            )
        number, annotator = _ids(row)
        held = found.setdefault((row.video, annotator), {})
        if number in held:
            raise InputError(f"{row.video}: annotator {annotator} describes object {number} twice")
        held[number] = (row, pair)
        if row.video not in voids:
            void = row.meta.get("void")
            voids[row.video] = None if void is None else MaskTrack.from_dict(void).union().at(truth.frame_ids)
        truths.setdefault(row.video, {})[number] = _without(truth.union(), voids[row.video])
    for (video, _), held in found.items():
        rows_of = {number: row for number, (row, _) in held.items()}
        yield _Scene(rows_of, {n: pair for n, (_, pair) in held.items()}, truths[video], voids[video])


def _without(track: MaskTrack, void: MaskTrack | None) -> MaskTrack:
    if void is None or not void.visible.any():
        return track
    return MaskTrack.from_dense(track.dense() & ~void.dense(), track.frame_ids)


def _ids(row: Row) -> tuple[int, int]:
    number, annotator = str(row.meta.get("obj_id")), row.meta.get("annotator")
    if not number.isdecimal() or int(number) < 1 or not isinstance(annotator, int):
        raise InputError(
            f"query {row.query!r}: protocol A needs meta['obj_id'] (from 1) and meta['annotator'] (0 to 3), got "
            f"{row.meta.get('obj_id')!r} and {annotator!r}"
        )
    return int(number), annotator
