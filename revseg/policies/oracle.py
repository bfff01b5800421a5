"""A policy that answers from the truth: the upper bound for a given tracker and sampler."""

import copy
from collections.abc import Mapping, Sequence

import numpy as np

from revseg.errors import PartError
from revseg.grounding.boxes import areas
from revseg.masks import MaskTrack
from revseg.policies.canonical_reply import write
from revseg.registry import register
from revseg.types import Message, Reply, Rollout, Sample, Sampling, Target


@register("policy", "oracle")
class Oracle:
    """Answers from the truth: the sampled frame on which the true box is largest, and that box.

    With `per_object=True` each object is a target with its own best frame; else one box encloses all objects. Answers
    "not in the video" if no sampled frame shows the target. Sampled frames without truth are ignored.
    """

    def __init__(self, per_object: bool = False, coords: str = "pixel") -> None:
        self.per_object = per_object
        self.coords = coords
        self._truths: Mapping[tuple[str | None, str], MaskTrack] = {}

    def with_truth(self, samples: Sequence[Sample], /) -> "Oracle":
        """A copy that knows the truth of these samples; the pipeline calls this for each batch."""
        bound = copy.copy(self)
        bound._truths = {(s.video.id, s.query.id): s.truth for s in samples if s.truth is not None}
        return bound

    def reply(self, rollouts: Sequence[Rollout], prompts: Sequence[Message], *, sampling: Sampling) -> list[Reply]:
        return [
            write(rollout, prompt, self._targets(rollout), self.coords)
            for rollout, prompt in zip(rollouts, prompts, strict=True)
        ]

    def _targets(self, rollout: Rollout) -> list[Target]:
        video = None if rollout.video is None else rollout.video.id
        truth = self._truths.get((video, rollout.query.id))
        if truth is None:
            raise PartError(f"oracle does not know the truth of query {rollout.query.id!r}; pass truth= with the query")
        objects = range(truth.objects)
        parts = [truth.select([o]) for o in objects] if self.per_object else [truth.union()]
        words = [_words(truth, [o]) for o in objects] if self.per_object else [_words(truth, objects)]
        found = [_best(part, rollout, word or rollout.query.text) for part, word in zip(parts, words, strict=True)]
        targets = [target for target in found if target is not None]
        return _distinct(targets) if self.per_object else targets


def _best(truth: MaskTrack, rollout: Rollout, description: str) -> Target | None:
    known = np.flatnonzero(np.isin(rollout.clip.frame_ids, truth.frame_ids))
    boxes = truth.at(rollout.clip.frame_ids[known]).boxes
    sizes = areas(boxes)
    if not sizes.any():
        return None
    best = int(sizes.argmax())
    frame_id = int(rollout.clip.frame_ids[known[best]])
    return Target(frame_id, description.strip() or "object", boxes[best : best + 1])


def _words(truth: MaskTrack, objects: Sequence[int]) -> str:
    names = [truth.names[o] for o in objects] if truth.names else []
    return " and ".join(dict.fromkeys(name for name in names if name))


def _distinct(targets: list[Target]) -> list[Target]:
    """The targets, numbered if two descriptions are equal, because equal descriptions count as one object."""
    words = [target.description for target in targets]
    if len(set(words)) == len(words):
        return targets
    return [Target(t.frame_id, f"{t.description} {n}", t.boxes) for n, t in enumerate(targets, 1)]
