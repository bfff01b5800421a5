"""The paper's data filter: which videos have annotations that a tracker agrees with (Sec. 4, "Training data").

The tracker is prompted on every annotated frame with the ground-truth box. A video whose masks have a mean IoU below
0.6 is left out with all its queries. By default each frame is a video of its own: good neighbours cannot hide a bad
box, and one frame is in memory at a time. With `whole` the tracker gets the whole video, with a grounding for every
frame and object. SAM 2 uses no memory on a prompted frame, so both measure the same for it; other trackers may differ.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from revseg import checked
from revseg.errors import InputError
from revseg.masks import MaskTrack
from revseg.masks.metrics import object_regions
from revseg.progress import tracked
from revseg.registry import build
from revseg.types import Dataset, Grounding, NeedsTruth, Query, Sample, Tracker
from revseg.video import Video


@dataclass(frozen=True)
class Filtered:
    """`scores`: mean IoU in [0, 1] by video id. `kept`: ids of the videos that passed; `indices`: their samples.

    A video in which no query's target is ever visible has no score and is kept.
    """

    scores: Mapping[str, float]
    kept: tuple[str, ...]
    indices: tuple[int, ...]

    def __str__(self) -> str:
        return f"{len(self.kept)} videos kept, with {len(self.indices)} queries"


def filter_videos(
    dataset: Dataset, tracker: Any = "sam2", threshold: float = 0.6, *, whole: bool = False, progress: bool = False
) -> Filtered:
    """Score every video of a dataset with truth by a tracker (spec or part); keep `dataset[i] for i in result.indices`.

    The score is the mean over all visible objects and annotated frames of a video; an object that several queries ask
    for counts once. Videos are told apart by `video.id`. InputError for a sample without truth, PartError for a tracker
    that does not give one row per object.
    """
    check_threshold(threshold)
    part: Tracker = build("tracker", tracker)
    ious: dict[str, list[float]] = {}
    seen: set[tuple[str, int]] = set()
    ids: list[str] = []
    samples = (dataset[index] for index in range(len(dataset)))
    for index, sample in enumerate(tracked(samples, "filtering", len(dataset), show=progress)):
        checked.sample(dataset, sample, index)
        ids.append(sample.video.id)
        found = ious.setdefault(sample.video.id, [])
        found += ious_of(sample, seen, part, whole)
    scores = {video: score for video, values in ious.items() if (score := mean(values)) is not None}
    kept = tuple(video for video in ious if scores.get(video, 1.0) >= threshold)
    return Filtered(scores, kept, tuple(i for i, video in enumerate(ids) if video in set(kept)))


def check_threshold(threshold: float) -> None:
    """InputError for a threshold that no mean IoU can be compared with."""
    if not 0 <= threshold <= 1:
        raise InputError(f"expected a threshold in [0, 1], got {threshold}")


def ious_of(sample: Sample, seen: set[tuple[str, int]], tracker: Tracker, whole: bool) -> list[float]:
    """IoU of every visible object and frame, for the objects that are not in `seen`, to which they are added."""
    checked.truth(sample.truth, sample.video, sample.query)
    new = _new_objects(sample, seen)
    return (_whole if whole else _frame_by_frame)(sample.video, sample.query, new, tracker) if new.objects else []


def mean(ious: Sequence[float]) -> float | None:
    """None of nothing."""
    return float(np.mean(ious)) if ious else None


def _new_objects(sample: Sample, seen: set[tuple[str, int]]) -> MaskTrack:
    """The objects of the sample's truth that no earlier query of the video asked for."""
    if sample.truth is None:
        raise InputError(f"query {sample.query.id!r} has no truth: the filter compares a tracker's masks with it")
    keys = [(sample.video.id, hash((tuple(sample.truth.frame_ids), row))) for row in sample.truth.counts]
    fresh = [o for o, key in enumerate(keys) if key not in seen]
    seen.update(keys)
    return sample.truth.select(fresh)


def _frame_by_frame(video: Video, query: Query, truth: MaskTrack, tracker: Tracker) -> list[float]:
    """IoU of every visible object on every frame, each frame a video of its own."""
    rows = [truth.select([o]) for o in range(truth.objects)]
    visible, boxes = np.stack([row.visible for row in rows]), np.stack([row.boxes for row in rows])
    places = np.flatnonzero(visible.any(0))
    found: list[float] = []
    for place, (_, frame) in zip(places.tolist(), video.stream(truth.frame_ids[places]), strict=True):
        objects = np.flatnonzero(visible[:, place]).tolist()
        there = truth.select(objects).at([int(truth.frame_ids[place])])
        alone = replace(there, frame_ids=np.zeros(1, np.int64))
        groundings = [Grounding(0, boxes[o, place][None], object_id=n) for n, o in enumerate(objects)]
        picture = replace(Video.open(frame[None]), id=video.id)
        found += object_regions(_asked(tracker, picture, query, alone, groundings), alone).ravel().tolist()
    return found


def _whole(video: Video, query: Query, truth: MaskTrack, tracker: Tracker) -> list[float]:
    """IoU of every visible object on every frame, after one call with a grounding for each of them."""
    rows = [truth.select([o]) for o in range(truth.objects)]
    seen = [o for o, row in enumerate(rows) if row.visible.any()]
    if not seen:
        return []
    groundings = [
        Grounding(int(frame), rows[o].boxes[place][None], object_id=n)
        for n, o in enumerate(seen)
        for place, frame in enumerate(truth.frame_ids)
        if rows[o].visible[place]
    ]
    some = truth.select(seen)
    ious = object_regions(_asked(tracker, video, query, some, groundings).at(truth.frame_ids), some)
    return ious[np.stack([rows[o].visible for o in seen])].tolist()


def _asked(tracker: Any, video: Video, query: Query, truth: MaskTrack, groundings: Sequence[Grounding]) -> MaskTrack:
    if isinstance(tracker, NeedsTruth):  # the oracle, to try the filter itself
        tracker = tracker.with_truth([Sample(video, query, truth)])
    return checked.masks(tracker, tracker(video, groundings), video, truth.objects)
