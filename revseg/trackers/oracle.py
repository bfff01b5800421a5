"""Tracker `oracle`: returns true masks, so that all error left in a pipeline comes from before the tracker."""

import copy
from collections.abc import Sequence

import numpy as np

from revseg.errors import InputError
from revseg.masks import MaskTrack
from revseg.masks.metrics import intersections
from revseg.registry import register
from revseg.trackers.fill_box import PROMPTS, fill_box
from revseg.trackers.prompts import nearest, objects_to_track
from revseg.types import Grounding, Sample
from revseg.video import Video


@register("tracker", "oracle")
class OracleTracker:
    """A perfect tracker: boxes that overlap a true object give that object's true masks; others give empty masks.

    The object is the true one (or all of them united) whose masks have the highest IoU with the boxes on the prompted
    frames. Frames without truth repeat the nearest frame that has one. Like the policy `oracle`, it is bound to a
    sample for one call (`with_truth`).
    """

    prompts = PROMPTS

    def __init__(self) -> None:
        self._truth: MaskTrack | None = None

    def with_truth(self, samples: Sequence[Sample], /) -> "OracleTracker":
        """The tracker bound to this one sample. The pipeline binds it before each call."""
        (sample,) = samples
        bound = copy.copy(self)
        bound._truth = sample.truth
        return bound

    def __call__(self, video: Video, groundings: Sequence[Grounding]) -> MaskTrack:
        """Raises InputError without a truth, or when its size is not the video's."""
        truth = self._on_every_frame(video)
        objects = objects_to_track(video, groundings, self.prompts)
        candidates = [truth.select([o]) for o in range(truth.objects)] + [truth.union()]
        empty = MaskTrack.empty(video.size, truth.frame_ids)
        filled = fill_box(video, groundings)
        rows = []
        for index, item in enumerate(objects):
            frames = sorted({prompt.frame_id for instance in item.instances for prompt in instance})
            overlaps = [_iou(filled.select([index]).at(frames), c.at(frames)) for c in candidates]
            best = int(np.argmax(overlaps))
            rows.append(candidates[best] if overlaps[best] > 0 else empty)
        counts = tuple(row.counts[0] for row in rows)
        return MaskTrack(counts, video.size, truth.frame_ids, names=tuple(item.name for item in objects))

    def _on_every_frame(self, video: Video) -> MaskTrack:
        truth = self._truth
        if truth is None or not len(truth):
            raise InputError("the tracker 'oracle' has no truth: bind it with with_truth([sample]) first")
        if truth.size != video.size:
            raise InputError(f"expected truth of the size of {video.id!r}, {video.size}, got {truth.size}")
        ids = np.arange(len(video))
        repeated = truth.at(truth.frame_ids[nearest(ids, truth.frame_ids)])
        return MaskTrack(repeated.counts, repeated.size, ids, names=repeated.names)


def _iou(one: MaskTrack, other: MaskTrack) -> float:
    """IoU over the pixels of all frames together."""
    common = intersections(one, other).sum()
    return float(common / max(one.areas.sum() + other.areas.sum() - common, 1))
