"""Tracker `flow`, without weights: OpenCV only, exact on flat-coloured shapes, a preview on real footage.

Every box starts a *follower* of the kind that fits its content: a region of one flat colour is followed by colour and
motion (`flat`), anything else by optical flow, a correlation filter and the difference from the still background
(`real`). A follower that has lost its target gives an empty mask. This is no substitute for SAM 2.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float64

from revseg.errors import InputError, MissingExtraError
from revseg.masks import MaskTrack, encode
from revseg.masks.dense import to_pixels
from revseg.registry import register
from revseg.trackers.flow.flat import FlatFollower
from revseg.trackers.flow.real import RealFollower
from revseg.trackers.flow.scene import Scene, View
from revseg.trackers.prompts import TrackObject, TrackPrompt, nearest, objects_to_track
from revseg.types import Grounding
from revseg.video import Video


@runtime_checkable
class Follower(Protocol):
    """Follows one instance frame by frame, in one direction of time."""

    def step(self, view: View) -> tuple[Bool[np.ndarray, "h w"], float]:
        """The mask on the next frame (first the prompted one) at the source's size, and a confidence in [0, 1]."""
        ...


@dataclass(frozen=True, eq=False)
class _Start:
    """Boxes of one object on a prompted frame, and the frames for which they are the nearest prompt."""

    row: int
    frame_id: int
    boxes: Float64[np.ndarray, "k 4"]  # in pixels
    first: int
    last: int


@register("tracker", "flow")
class FlowTracker:
    """Box-prompted tracking without weights: colour, optical flow, a correlation filter and a background plate.

    Streams frames forward and backward from every keyframe. Where an object has groundings on several frames, each
    frame follows the one nearest in time. Several boxes of a grounding are followed separately and united. The result
    is deterministic.

    `work_width` is the width in pixels at which real footage is tracked; masks have the source's size. `flat=False`
    follows regions of one flat colour as real footage too. Raises MissingExtraError when OpenCV is missing or is the
    build without the contributed trackers.
    """

    prompts = frozenset({"box", "point"})

    def __init__(self, *, work_width: int = 480, flat: bool = True) -> None:
        try:
            import cv2
        except ImportError as error:
            raise MissingExtraError(
                "the tracker `flow` needs OpenCV: pip install opencv-contrib-python-headless"
            ) from error
        if not hasattr(cv2, "TrackerCSRT_create"):
            raise MissingExtraError(
                f"OpenCV {cv2.__version__} here has no CSRT tracker: "
                "pip uninstall opencv-python opencv-python-headless; pip install opencv-contrib-python-headless"
            )
        if work_width < 64:
            raise InputError(f"work_width: expected at least 64 pixels, got {work_width}")
        self.work_width = work_width
        self.flat = flat

    def __call__(self, video: Video, groundings: Sequence[Grounding]) -> MaskTrack:
        """Masks of every object on every frame of the source, one object per distinct `object_id`.

        `scores[o, t]` is the mean confidence of the object's instances; an empty mask means "not in sight".
        Raises InputError for groundings that it cannot start from: see `objects_to_track`.
        """
        objects = objects_to_track(video, groundings, self.prompts)
        empty = encode(np.zeros(video.size, bool))
        counts = [[empty] * len(video) for _ in objects]
        scores = np.zeros((len(objects), len(video)), np.float32)
        starts = [start for row, item in enumerate(objects) for start in _starts(video, row, item)]
        scene = Scene(video, self.work_width)
        for keyframe in sorted({start.frame_id for start in starts}):
            here = [start for start in starts if start.frame_id == keyframe]
            for stop in (max(start.last for start in here), min(start.first for start in here)):
                for frame_id, row, mask, score in self._run(video, scene, here, stop):
                    counts[row][frame_id] = encode(mask)
                    scores[row, frame_id] = score
        names = tuple(item.name for item in objects)
        return MaskTrack(tuple(map(tuple, counts)), video.size, np.arange(len(video)), scores, names)

    def _run(
        self, video: Video, scene: Scene, starts: Sequence[_Start], stop: int
    ) -> Iterator[tuple[int, int, np.ndarray, float]]:
        """(frame id, row, mask, confidence) from the starts' common keyframe to `stop`, in either direction."""
        keyframe = starts[0].frame_id
        followers: list[list[Follower]] = []
        view: View | None = None
        step = 1 if stop >= keyframe else -1
        for frame_id, frame in video.stream(range(keyframe, stop + step, step)):
            view = View(frame, frame_id, view, scene)
            if frame_id == keyframe:
                followers = [[self._follower(view, box) for box in start.boxes] for start in starts]
            for start, own in zip(starts, followers, strict=True):
                if start.first <= frame_id <= start.last:
                    masks, confidences = zip(*(follower.step(view) for follower in own), strict=True)
                    yield frame_id, start.row, np.logical_or.reduce(masks), float(np.mean(confidences))

    def _follower(self, view: View, box: np.ndarray) -> Follower:
        flat = FlatFollower.start(view.frame, box) if self.flat else None
        return flat or RealFollower(view, box)


def _starts(video: Video, row: int, item: TrackObject) -> list[_Start]:
    """The prompted frames of one object, each with the frames that are nearer to it than to any other."""
    prompts = [prompt for instance in item.instances for prompt in instance]
    frames = sorted({prompt.frame_id for prompt in prompts})
    owner = nearest(np.arange(len(video)), frames)
    starts = []
    for index, frame_id in enumerate(frames):
        boxes = _boxes([prompt for prompt in prompts if prompt.frame_id == frame_id], video.size)
        own = np.flatnonzero(owner == index)
        starts.append(_Start(row, frame_id, boxes, int(own[0]), int(own[-1])))
    return starts


def _boxes(prompts: Sequence[TrackPrompt], size: tuple[int, int]) -> Float64[np.ndarray, "k 4"]:
    """The boxes of one frame in pixels; of points alone a box around them, at least a sixth of the frame wide."""
    boxes = [prompt.box for prompt in prompts if prompt.box is not None]
    if boxes:
        return to_pixels(np.stack(boxes), size)
    points = to_pixels(np.concatenate([prompt.points[prompt.labels] for prompt in prompts]), size)
    extent = np.asarray([size[1], size[0]])
    middle = (points.min(0) + points.max(0)) / 2
    half = np.maximum((points.max(0) - points.min(0)) * 0.65, extent / 12)
    low, high = np.maximum(middle - half, 0), np.minimum(middle + half, extent)
    return np.concatenate([low, high])[None]
