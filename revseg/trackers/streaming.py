"""Streaming with a promptable video model such as SAM 2: one sweep forward, one backward, masks encoded at once.

Memory does not grow with the length of the video. Frames are read a few at a time, and of the model's own outputs only
those are kept that its memory attention can still read: a window around the current frame and one around the first
prompt, or around the current frame the last ones that can be trusted (`memory="trusted"`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from revseg.errors import InputError
from revseg.masks import MaskTrack, encode
from revseg.trackers.prompts import TrackObject, TrackPrompt, objects_to_track
from revseg.trackers.trusted import TrustedFrames
from revseg.types import Grounding
from revseg.video import Video

if TYPE_CHECKING:
    import torch

MEMORIES = ("recent", "trusted")


@dataclass(frozen=True, eq=False)
class Output:
    """A model's output for one instance on one frame."""

    logits: "torch.Tensor"  # [h w] at the model's own resolution; positive: on the target
    presence: float  # probability that the target is visible, in [0, 1]


@runtime_checkable
class Instance(Protocol):
    """A video model's memory of one instance. `tracked` maps frames without a prompt to the outputs kept for them."""

    tracked: dict[int, Any]

    def prompt(self, features: Any, prompt: TrackPrompt) -> Output: ...
    def track(self, features: Any, frame_id: int, reverse: bool) -> Output: ...


@runtime_checkable
class VideoModel(Protocol):
    """A promptable video model. The features of a frame are computed once and shared by all instances."""

    window: int  # how many frames its memory reaches back

    def encode(self, frame: UInt8[np.ndarray, "h w 3"]) -> Any: ...
    def start(self, video: Video) -> Instance: ...


def check_memory(memory: str) -> str:
    """`memory`, if it is one of `MEMORIES`; InputError otherwise."""
    if memory not in MEMORIES:
        raise InputError(
            f"expected memory={' or '.join(MEMORIES)}, got {memory!r}: whether a tracker looks back on the frames "
            "just before, or on the last frames that surely showed the target"
        )
    return memory


def track(
    model: VideoModel,
    video: Video,
    groundings: Sequence[Grounding],
    prompts: frozenset[str],
    memory: str = "recent",
) -> MaskTrack:
    """Masks on every frame of the source: each instance is tracked forward and backward from its first prompt.

    One object per distinct `object_id`. Further prompts of an object correct it from their frames on, and also enter
    the memory for earlier frames. A score is the model's confidence in the mask, so an empty mask scores high where the
    model is sure that the target is absent; an object of several instances has the lowest of their scores. Without
    groundings the track has no objects. `prompts` and errors: see `objects_to_track`. With `memory="trusted"` the
    model looks back on the last frames that surely showed the target (`TrustedFrames`).
    """
    objects = objects_to_track(video, groundings, prompts)
    window = model.window if check_memory(memory) == "trusted" else 0
    runs = [_Run(model.start(video), prompts, len(video), window) for item in objects for prompts in item.instances]
    if not runs:
        return MaskTrack.empty(video.size, np.arange(len(video)), objects=0)
    for frame_id, frame in video.stream(sorted({f for run in runs for f in run.prompts})):
        features = model.encode(frame)
        for run in runs:
            if frame_id in run.prompts:
                run.store(frame_id, run.instance.prompt(features, run.prompts[frame_id]), video.size)
    _sweep(model, video, runs, reverse=False)
    _sweep(model, video, runs, reverse=True)
    return _unite(video, objects, runs)


class _Run:
    """One instance being tracked: its memory in the model and its masks so far. `trust`: trusted frames to keep."""

    def __init__(self, instance: Instance, prompts: Sequence[TrackPrompt], length: int, trust: int = 0) -> None:
        self.instance = instance
        self.prompts = {prompt.frame_id: prompt for prompt in prompts}
        self.first = min(self.prompts)
        self.trusted = TrustedFrames(self.prompts, trust) if trust else None
        self.counts = [b""] * length
        self.scores = np.zeros(length, np.float32)

    def step(self, features: Any, frame_id: int, size: tuple[int, int], window: int, *, reverse: bool) -> None:
        """Track one frame."""
        tracked = self.instance.tracked
        if self.trusted is not None:
            self.trusted.choose(tracked, frame_id, reverse=reverse)
        output = self.instance.track(features, frame_id, reverse)
        visible = self.store(frame_id, output, size)
        if self.trusted is None:
            self.forget(frame_id, window)
        else:
            self.trusted.add(tracked, frame_id, presence=output.presence, empty=not visible)

    def store(self, frame_id: int, output: Output, size: tuple[int, int]) -> bool:
        """Keep the mask; whether it has a pixel."""
        import torch.nn.functional as F

        logits = F.interpolate(output.logits[None, None].float(), size=size, mode="bilinear", align_corners=False)
        mask = (logits[0, 0] > 0).cpu().numpy()
        self.counts[frame_id] = encode(mask)
        visible = bool(mask.any())
        self.scores[frame_id] = output.presence if visible else 1 - output.presence
        return visible

    def forget(self, frame_id: int, window: int) -> None:
        """Drops outputs that the model cannot read any more. Those around the first prompt are for the second sweep."""
        tracked = self.instance.tracked
        for old in [f for f in tracked if abs(f - frame_id) > window and abs(f - self.first) > window]:
            del tracked[old]


def _sweep(model: VideoModel, video: Video, runs: Sequence[_Run], *, reverse: bool) -> None:
    starts = [run.first for run in runs]
    order = range(max(starts) - 1, -1, -1) if reverse else range(min(starts) + 1, len(video))
    for frame_id, frame in video.stream(order):
        active = [run for run in runs if frame_id not in run.prompts and (frame_id < run.first) == reverse]
        features = model.encode(frame) if active else None
        for run in active:
            run.step(features, frame_id, video.size, model.window, reverse=reverse)


def _unite(video: Video, objects: Sequence[TrackObject], runs: Sequence[_Run]) -> MaskTrack:
    """The instances' masks as one track, the instances of each object united."""
    ids = np.arange(len(video))
    instances = MaskTrack(tuple(tuple(r.counts) for r in runs), video.size, ids, np.stack([r.scores for r in runs]))
    rows, start = [], 0
    for item in objects:
        rows.append(instances.select(range(start, start + len(item.instances))).union())
        start += len(item.instances)
    names = tuple(item.name for item in objects)
    return MaskTrack(
        tuple(row.counts[0] for row in rows), video.size, ids, np.concatenate([row.scores for row in rows]), names
    )
