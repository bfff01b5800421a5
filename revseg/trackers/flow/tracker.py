"""The weight-free tracker `flow`: OpenCV only, exact on flat-coloured shapes, a preview on real footage.

Each prompted box starts a *follower*, and what the box holds decides which: a region of one flat colour is followed
by its colour and its motion (`flow_flat`), anything else by optical flow, a correlation filter and the difference from
the still background (`flow_real`). A follower that has lost its target says so: an empty mask. It is no rival of SAM 2.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool

from revseg.errors import InputError, MissingExtraError
from revseg.masks import MaskTrack, encode
from revseg.registry import register
from revseg.trackers.flow.flat import FlatFollower
from revseg.trackers.flow.real import RealFollower
from revseg.trackers.flow.scene import Scene, View
from revseg.types import Grounding
from revseg.video import Video

_CHUNK_BYTES = 32_000_000  # frames held at once while streaming


@runtime_checkable
class Follower(Protocol):
    """Follows one instance, frame by frame in one direction of time."""

    def step(self, view: View) -> tuple[Bool[np.ndarray, "h w"], float]:
        """The next frame (first the prompted one) to a mask at the source's size and a confidence in [0, 1]."""
        ...


@dataclass(frozen=True, eq=False)
class _Prompt:
    """What is asked of one object on one frame, in pixels, and the frames this prompt answers for."""

    row: int
    frame_id: int
    boxes: np.ndarray  # float [k 4]
    points: np.ndarray  # float [m 2]
    labels: np.ndarray  # bool [m]
    first: int
    last: int


@register("tracker", "flow")
class FlowTracker:
    """Box-prompted tracking without weights: colour, optical flow, a correlation filter and a background plate.

    Runs both ways from every keyframe and streams frames. Several groundings of one object correct one another: each
    frame follows the prompt nearest in time. Several boxes of a grounding are followed apart and united. Deterministic.

    Args:
        work_width: width in pixels at which real footage is tracked; masks are given at the source's size.
        flat: whether regions of one flat colour are followed by colour, exactly, at the source's size.

    Raises:
        MissingExtraError: OpenCV is missing, or is the build without the contributed trackers.
    """

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
        """Masks of every object on every frame of the source, one row per distinct `object_id` in order of appearance.

        `scores[o, t]` is the mean confidence of the object's instances; an empty mask says "not in sight".
        Raises InputError for a grounding outside the video, or without a box and without a point on the target.
        """
        rows = list(dict.fromkeys(g.object_id for g in groundings))
        nothing = encode(np.zeros(video.size, bool))
        counts = [[nothing] * len(video) for _ in rows]
        scores = np.zeros((len(rows), len(video)), np.float32)
        prompts = [p for row, name in enumerate(rows) for p in _prompts(video, row, groundings, name)]
        scene = Scene(video, self.work_width)
        for start in sorted({p.frame_id for p in prompts}):
            here = [p for p in prompts if p.frame_id == start]
            for stop in (max(p.last for p in here), min(p.first for p in here)):
                for frame_id, row, mask, score in self._run(video, scene, here, stop):
                    counts[row][frame_id] = encode(mask)
                    scores[row, frame_id] = score
        names = tuple(next(g.description for g in groundings if g.object_id == name) for name in rows)
        return MaskTrack(tuple(map(tuple, counts)), video.size, np.arange(len(video)), scores, names)

    def _run(
        self, video: Video, scene: Scene, prompts: Sequence[_Prompt], stop: int
    ) -> Iterator[tuple[int, int, np.ndarray, float]]:
        """From the prompts' frame to `stop`, either way: (frame id, row, mask, confidence) of each that answers."""
        start = prompts[0].frame_id
        teams: list[list[Follower]] = []
        view: View | None = None
        for frame_id, frame in _stream(video, start, stop):
            view = View(frame, frame_id, view, scene)
            if frame_id == start:
                teams = [[self._start(view, box) for box in p.boxes] for p in prompts]
            for prompt, team in zip(prompts, teams, strict=True):
                if prompt.first <= frame_id <= prompt.last:
                    masks, confidences = zip(*(follower.step(view) for follower in team), strict=True)
                    yield frame_id, prompt.row, np.logical_or.reduce(masks), float(np.mean(confidences))

    def _start(self, view: View, box: np.ndarray) -> Follower:
        flat = FlatFollower.start(view.frame, box) if self.flat else None
        return flat or RealFollower(view, box)


def _prompts(video: Video, row: int, groundings: Sequence[Grounding], object_id: int) -> list[_Prompt]:
    """The prompts of one object, one a frame, each with the frames nearer to it than to its neighbours."""
    h, w = video.size
    scale = np.asarray([w, h], np.float64)
    mine = [g for g in groundings if g.object_id == object_id]
    for g in mine:
        if not 0 <= g.frame_id < len(video):
            raise InputError(f"grounding on frame {g.frame_id}: the video has frames 0 to {len(video) - 1}")
        if not len(g.boxes) and not g.point_labels.any():
            raise InputError(f"grounding on frame {g.frame_id}: expected a box or a point on the target, got neither")
    frames = sorted({g.frame_id for g in mine})
    ends = [(a + b) // 2 for a, b in itertools.pairwise(frames)]
    found = []
    for frame_id, first, last in zip(frames, [0, *(e + 1 for e in ends)], [*ends, len(video) - 1], strict=True):
        here = [g for g in mine if g.frame_id == frame_id]
        points = np.concatenate([g.points for g in here]) * scale
        labels = np.concatenate([g.point_labels for g in here])
        boxes = np.concatenate([g.boxes for g in here]) * np.tile(scale, 2)
        if not len(boxes):
            boxes = _box_around(points[labels], video.size)
        found.append(_Prompt(row, frame_id, boxes, points, labels, first, last))
    return found


def _box_around(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """float[1 4]: a box about points on the target, a sixth of the frame at least: all that points alone can say."""
    h, w = size
    middle = (points.min(0) + points.max(0)) / 2
    half = np.maximum((points.max(0) - points.min(0)) * 0.65, np.asarray([w, h]) / 12)
    low, high = np.maximum(middle - half, 0), np.minimum(middle + half, [w, h])
    return np.concatenate([low, high])[None]


def _stream(video: Video, start: int, stop: int) -> Iterator[tuple[int, np.ndarray]]:
    """(frame id, frame) from `start` to `stop` inclusive, either way, a bounded number of frames in memory."""
    step = 1 if stop >= start else -1
    h, w = video.size
    chunk = max(1, min(64, _CHUNK_BYTES // (3 * h * w)))
    order = np.arange(start, stop + step, step)
    for at in range(0, len(order), chunk):
        ids = order[at : at + chunk]
        frames = video.read(np.sort(ids))  # decoders go forward; a chunk read backwards would seek on every frame
        yield from zip(ids.tolist(), frames[::step], strict=True)
