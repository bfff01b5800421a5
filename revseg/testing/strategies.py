"""Strategies for revseg's types: small values of every allowed shape, simple ones first."""

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from revseg.masks import MaskTrack
from revseg.types import Answer, Clip, Grounding, Query, Target
from revseg.video import Video

Draw = Callable[..., Any]  # Hypothesis' own DrawFn cannot be checked at run time


def sizes(most: int = 24) -> st.SearchStrategy[tuple[int, int]]:
    """(height, width), each from 1 to `most`."""
    return st.tuples(st.integers(1, most), st.integers(1, most))


@st.composite
def clips(draw: Draw, frames: int | None = None, size: tuple[int, int] | None = None) -> Clip:
    """Clips of 1 to 6 noisy frames with increasing frame ids."""
    count = draw(st.integers(1, 6)) if frames is None else frames
    height, width = draw(sizes()) if size is None else size
    ids = np.cumsum([draw(st.integers(0, 3)), *(draw(st.integers(1, 5)) for _ in range(count - 1))])
    return Clip(_noise(draw, (count, height, width, 3)), ids.astype(np.int64))


@st.composite
def videos(draw: Draw, frames: int | None = None, size: tuple[int, int] | None = None) -> Video:
    """Videos of 1 to 8 noisy frames in memory."""
    count = draw(st.integers(1, 8)) if frames is None else frames
    pixels = _noise(draw, (count, *(draw(sizes()) if size is None else size), 3))
    fps = draw(st.sampled_from([24.0, 1.0, 29.97]))
    return Video("noise", pixels.shape[1:3], fps, count, lambda indices: pixels[indices])


def queries() -> st.SearchStrategy[Query]:
    """Queries with any text that is not empty."""
    return st.builds(Query, st.sampled_from(["q", "a/1", "ü"]), descriptions())


def descriptions() -> st.SearchStrategy[str]:
    """Descriptions of a target, stripped: any characters, with quotes, tags and brackets among them."""
    awkward = ["the man's dog", 'a "red" car', "<answer>", "</think>x", "[1, 2]", "{a}", "back\\slash", "猫", "a\nb"]
    text = st.text(max_size=12).map(str.strip).filter(bool)
    return st.one_of(st.sampled_from(["a dog", "the red ball"]), st.sampled_from(awkward), text)


@st.composite
def boxes(draw: Draw, count: int | None = None) -> np.ndarray:
    """float32[k 4]: valid unit boxes, 1 to 3 by default, up to the whole picture and down to slivers."""
    ends = st.one_of(st.integers(0, 64).map(lambda i: i / 64), st.floats(0, 1, width=32))
    # A float32 below 1e-30 cannot be restored exactly from a text in pixels; no picture has such coordinates.
    side = st.lists(ends.filter(lambda x: x == 0 or x > 1e-30), min_size=2, max_size=2, unique=True).map(sorted)
    rows = []
    for _ in range(draw(st.integers(1, 3)) if count is None else count):
        (x1, x2), (y1, y2) = draw(side), draw(side)
        rows.append([x1, y1, x2, y2])
    return np.asarray(rows, np.float32).reshape(-1, 4)


@st.composite
def answers(draw: Draw, shown: Clip, kind: str = "keyframe_json") -> Answer:
    """Answers that a reply of this kind can express in full: 0 to 3 targets, as `grounding.render` writes them."""
    targets = []
    for _ in range(draw(st.integers(0, 3))):
        words = draw(descriptions())
        keyframe = None if kind == "box_json" else int(shown.frame_ids[draw(st.integers(0, len(shown) - 1))])
        if kind == "keyframe_json":
            targets.append(Target(keyframe, words))
            continue
        points = draw(boxes(draw(st.integers(0, 2))))[:, :2]
        on = np.ones(len(points), bool)
        targets.append(Target(keyframe, words, draw(boxes(1 if kind == "box_json" else None)), points, on))
    return Answer(tuple(targets))


@st.composite
def tracks(
    draw: Draw, frame_ids: np.ndarray | None = None, size: tuple[int, int] | None = None, objects: int | None = None
) -> MaskTrack:
    """Tracks of 1 or 2 objects that are a rectangle or absent on each frame."""
    ids = np.arange(draw(st.integers(1, 6))) if frame_ids is None else frame_ids
    height, width = draw(sizes()) if size is None else size
    count = draw(st.integers(1, 2)) if objects is None else objects
    masks = np.zeros((count, len(ids), height, width), bool)
    for mask in masks.reshape(-1, height, width):
        if draw(st.integers(0, 3)):
            y, x = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
            mask[y : y + draw(st.integers(1, height)), x : x + draw(st.integers(1, width))] = True
    return MaskTrack.from_dense(masks, ids)


@st.composite
def groundings(draw: Draw, frames: int) -> tuple[Grounding, ...]:
    """1 to 3 groundings of one or several objects in a video of `frames` frames."""
    found = []
    for _ in range(draw(st.integers(1, 3))):
        frame = draw(st.integers(0, frames - 1))
        number = draw(st.integers(0, len({g.object_id for g in found})))
        found.append(Grounding(frame, draw(boxes()), description=f"object {number}", object_id=number))
    return tuple(found)


def _noise(draw: Draw, shape: tuple[int, ...]) -> np.ndarray:
    seed = draw(st.integers(0, 9))
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
