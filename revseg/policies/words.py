"""A policy that passes the question on as the description, for trackers that start from text."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from revseg.policies.canonical_reply import write
from revseg.registry import register
from revseg.types import Message, Reply, Rollout, Sampling, Target

WHOLE = np.array([[0, 0, 1, 1]], np.float32)


@register("policy", "words")
class Words:
    """Answers with the question itself as the description of one target on the first sampled frame; no model.

    With a tracker that starts from text, such as `sam3_concept`, it is a baseline without training and without
    reasoning. By default there is one round, which shows frame 0 and asks for no box. A round that does ask for a box
    gets the whole picture.
    """

    def __init__(self, coords: str = "pixel") -> None:
        self.coords = coords

    @property
    def defaults(self) -> dict[str, Any]:
        """Settings of the pipeline that the user may override: one round, about frame 0."""
        return {"plan": [["keyframe", "keyframe_json"]], "sampler": "head", "num_frames": 1}

    def reply(self, rollouts: Sequence[Rollout], prompts: Sequence[Message], *, sampling: Sampling) -> list[Reply]:
        return [
            write(rollout, prompt, [_target(rollout)], self.coords)
            for rollout, prompt in zip(rollouts, prompts, strict=True)
        ]


def _target(rollout: Rollout) -> Target:
    words = " ".join(rollout.query.text.split()) or "object"
    return Target(int(rollout.clip.frame_ids[0]), words, WHOLE)
