"""Tracker `oracle`: the truth's own masks. With it in a pipeline, whatever error is left comes before the tracker."""

import copy
from collections.abc import Sequence

import numpy as np

from revseg.errors import InputError
from revseg.masks import MaskTrack
from revseg.registry import register
from revseg.trackers.fill_box import fill_box
from revseg.trackers.streaming import plan
from revseg.types import Grounding, Sample
from revseg.video import Video


@register("tracker", "oracle")
class OracleTracker:
    """A perfect tracker: from a prompt that overlaps the target, the target's true masks; from any other, nothing.

    A grounded object stands for the true object (or all of them together) with which its boxes overlap most, by mask
    IoU on the prompted frames. Frames without truth repeat the nearest frame that has one. Like the policy of that
    name it is bound to a sample for one call (`with_truth`).
    """

    def __init__(self) -> None:
        self._truth: MaskTrack | None = None

    def with_truth(self, samples: Sequence[Sample], /) -> "OracleTracker":
        """The tracker for the video of this one sample; the pipeline asks for one before each call."""
        (sample,) = samples
        knowing = copy.copy(self)
        knowing._truth = sample.truth
        return knowing

    def __call__(self, video: Video, groundings: Sequence[Grounding]) -> MaskTrack:
        """Raises InputError without a truth, or when its size is not the video's."""
        truth = self._on_every_frame(video)
        objects = plan(video, groundings)
        candidates = [truth.select([o]) for o in range(truth.objects)] + [truth.union()]
        nothing = MaskTrack.empty(video.size, truth.frame_ids)
        filled = fill_box(video, groundings)
        rows = []
        for index, item in enumerate(objects):
            frames = sorted({prompt.frame_id for instance in item.instances for prompt in instance})
            overlaps = [_overlap(filled.select([index]).at(frames), c.at(frames)) for c in candidates]
            best = int(np.argmax(overlaps))
            rows.append(candidates[best] if overlaps[best] > 0 else nothing)
        counts = tuple(row.counts[0] for row in rows)
        return MaskTrack(counts, video.size, truth.frame_ids, names=tuple(item.name for item in objects))

    def _on_every_frame(self, video: Video) -> MaskTrack:
        truth = self._truth
        if truth is None or not len(truth):
            raise InputError("the oracle tracker does not know the truth: bind it with with_truth([sample]) first")
        if truth.size != video.size:
            raise InputError(f"expected truth of the size of {video.id!r}, {video.size}, got {truth.size}")
        ids = np.arange(len(video))
        nearest = np.abs(ids[:, None] - truth.frame_ids).argmin(1)
        held = truth.at(truth.frame_ids[nearest])
        return MaskTrack(held.counts, held.size, ids, names=held.names)


def _overlap(one: MaskTrack, other: MaskTrack) -> float:
    """IoU of the masks of all frames together."""
    a, b = one.dense(), other.dense()
    return float((a & b).sum() / max((a | b).sum(), 1))
