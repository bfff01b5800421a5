"""Samples, rewards and segmentations."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from revseg.masks import MaskTrack
from revseg.types.conversation import Query
from revseg.types.rollout import Rollout
from revseg.video import Video


@dataclass(frozen=True)
class RewardBreakdown:
    """One rollout's rewards, each in [0, 1], under the specs as written; `total` is their weighted sum (Eq. 8)."""

    values: Mapping[str, float]
    weights: Mapping[str, float]

    @property
    def total(self) -> float:
        return sum(self.weights[name] * value for name, value in self.values.items())


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What `ReVSeg.segment` gives: the conversation, the masks on every frame of the source, what they came from."""

    rollout: Rollout
    masks: MaskTrack  # of the targets
    rewards: RewardBreakdown | None = None  # None without a truth
    spec: Mapping[str, Any] = field(default_factory=dict)  # the model, as `ReVSeg.from_dict` reads it
    context: MaskTrack | None = None  # masks of `rollout.context`, in its order; None where there is none

    @property
    def status(self) -> str:
        """The conversation's: "found", "absent", or "failed" (see `rollout.error`)."""
        return self.rollout.status

    def save(
        self, folder: str | Path, video: Any, *, overwrite: bool = False, truth: MaskTrack | None = None, **options: Any
    ) -> Path:
        """Writes masks/, masks.json, overlay.mp4, reasoning.json and reasoning.html; whole or not at all.

        `video` is the source that was segmented; it is read again, a few frames at a time. Raises OutputError when the
        folder exists, unless `overwrite`. For `options` see `revseg.report.save`.
        """
        from revseg.report import save

        source = video if isinstance(video, Video) else Video.open(video)
        return save(self, folder, source, overwrite=overwrite, truth=truth, **options)


@dataclass(frozen=True, eq=False)
class Sample:
    """One item of a dataset."""

    video: Video
    query: Query
    truth: MaskTrack | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
