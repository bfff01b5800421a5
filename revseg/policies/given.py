"""A policy that answers with the user's keyframe and box, to use a tracker without a model."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from revseg.errors import InputError
from revseg.policies.canonical_reply import write
from revseg.registry import register
from revseg.spec import format_spec
from revseg.types import Message, Reply, Rollout, Sampling, Target


@register("policy", "given")
class Given:
    """Answers with the keyframe and the box that you give; no model.

    `keyframe` is a frame of the source, counted from 0; `box` is unit xyxy. Lists of both, of equal length, give
    several targets; one keyframe may have several boxes. With `same_object=True` they are prompts for one object on
    several frames.
    """

    def __init__(
        self,
        keyframe: int | Sequence[int],
        box: Sequence[float] | Sequence[Sequence[float]],
        description: str = "",
        same_object: bool = False,
        coords: str = "pixel",
    ) -> None:
        boxes = np.atleast_2d(np.asarray(box, np.float32))
        if boxes.ndim != 2 or boxes.shape[1] != 4 or not len(boxes):
            raise InputError(f"expected box=[x1, y1, x2, y2] or a list of boxes, got {box!r}")
        low, high = boxes[:, :2], boxes[:, 2:]
        if not ((low >= 0) & (low < high) & (high <= 1)).all():
            raise InputError(f"expected unit boxes with 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1, got {box!r}")
        frames = [keyframe] if isinstance(keyframe, int) else list(keyframe)
        if len(frames) == 1:
            frames *= len(boxes)
        if len(frames) != len(boxes) or any(isinstance(f, bool) or f < 0 for f in frames):
            raise InputError(f"expected one frame number, or one for each of {len(boxes)} boxes; got {keyframe!r}")
        several = len(boxes) > 1 and not same_object
        word = description.strip() or "object"
        self.frames = [int(frame) for frame in frames]
        self.boxes = boxes
        self.descriptions = [f"{word} {n}" if several else word for n in range(1, len(boxes) + 1)]
        self.coords = coords

    @property
    def defaults(self) -> dict[str, Any]:
        """Settings of the pipeline that the user may override: sample exactly the given frames."""
        frames = sorted(set(self.frames))
        return {"sampler": format_spec("at", {"frames": frames}), "num_frames": max(16, len(frames))}

    def reply(self, rollouts: Sequence[Rollout], prompts: Sequence[Message], *, sampling: Sampling) -> list[Reply]:
        return [
            write(rollout, prompt, self._targets(rollout), self.coords)
            for rollout, prompt in zip(rollouts, prompts, strict=True)
        ]

    def _targets(self, rollout: Rollout) -> list[Target]:
        sampled = rollout.clip.frame_ids.tolist()
        missing = sorted(set(self.frames) - set(sampled))
        if missing:
            raise InputError(
                f"frame {missing[0]} was given but is not among the sampled frames {_brief(sampled)}; "
                f"sample it: sampler={self.defaults['sampler']!r}"
            )
        rows = zip(self.frames, self.descriptions, self.boxes, strict=True)
        return [Target(frame, word, box[None]) for frame, word, box in rows]


def _brief(ids: list[int]) -> str:
    return str(ids) if len(ids) <= 12 else f"[{', '.join(map(str, ids[:12]))}, ...]"
