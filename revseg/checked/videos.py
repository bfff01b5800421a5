"""What samplers, trackers and datasets return."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from revseg.checked.describe import check_frames, describe, wrong
from revseg.errors import InputError, PartError
from revseg.masks import MaskTrack
from revseg.registry import origin
from revseg.types import Clip, Query, Sample
from revseg.video import Video


def clip(sampler: Any, found: Any, video: Video, most: int) -> Clip:
    """The frames that a sampler chose from a video, at most `most`."""
    part = f"sampler {origin(sampler)} on {video.id!r}"
    if not isinstance(found, Clip):
        raise wrong(part, "a Clip", found)
    check_frames(part, found)
    ids = found.frame_ids
    if not 1 <= len(ids) <= most:
        raise PartError(f"{part}: expected 1 to {most} frames, got {len(ids)}")
    if ids.min() < 0 or ids.max() >= len(video):
        raise PartError(f"{part}: expected frame ids in 0..{len(video) - 1}, got {found!r}")
    return found


def masks(tracker: Any, found: Any, video: Video, objects: int | None = None) -> MaskTrack:
    """A tracker's result: a mask of the video's size for every frame, in order; for `objects` objects if given."""
    part = f"tracker {origin(tracker)} on {video.id!r}"
    if not isinstance(found, MaskTrack):
        raise wrong(part, "a MaskTrack", found)
    if tuple(found.size) != tuple(video.size):
        raise PartError(f"{part}: expected masks of {tuple(video.size)}, got {tuple(found.size)}")
    if len(found) != len(video) or not np.array_equal(found.frame_ids, np.arange(len(video))):
        raise PartError(f"{part}: expected the frame ids 0..{len(video) - 1} in order, got {describe(found.frame_ids)}")
    if objects is not None and found.objects != objects:
        raise PartError(f"{part}: expected {objects} objects, got {found.objects}")
    if not ((found.scores >= 0) & (found.scores <= 1)).all():  # False for NaN too
        raise PartError(f"{part}: expected scores in [0, 1], got {describe(found.scores)}")
    return found


def sample(dataset: Any, found: Any, index: int) -> Sample:
    """Item `index` of a dataset. Whether truth and video match is checked by `truth`."""
    part = f"dataset {origin(dataset)}, sample {index}"
    if not isinstance(found, Sample):
        raise wrong(part, "a Sample", found)
    if not isinstance(found.video, Video) or not len(found.video):
        raise wrong(part, "a Video of one frame or more", found.video)
    query = found.query
    if not isinstance(query, Query) or not isinstance(query.id, str) or not isinstance(query.text, str):
        raise wrong(part, "a Query of texts", query)
    if not isinstance(found.truth, MaskTrack | None):
        raise wrong(part, "truth as a MaskTrack or None", found.truth)
    if not isinstance(found.meta, Mapping):
        raise wrong(part, "meta as a mapping", found.meta)
    return found


def truth(track: Any, video: Video, query: Query) -> None:
    """InputError when a truth does not match its video: masks of another size, or of frames that it does not have."""
    if not isinstance(track, MaskTrack | None):
        raise InputError(
            f"expected truth as a MaskTrack, got {describe(track)}; MaskTrack.from_dense makes one of arrays"
        )
    for _, what in mismatches(track, video):
        raise InputError(f"query {query.id!r}, video {video.id!r}: {what}; `revseg data check` looks through a dataset")


def mismatches(track: MaskTrack | None, video: Video) -> Iterator[tuple[str, str]]:
    """Where a truth does not match its video: a stable word (size, length, frames) and a sentence."""
    if track is None:
        return
    if tuple(track.size) != tuple(video.size):
        (h, w), (height, width) = track.size, video.size
        yield "size", f"expected masks of {width}x{height} as the frames, got {w}x{h}"
    ids = track.frame_ids
    if len(ids) and (ids.max() >= len(video) or ids.min() < 0):
        yield "length", f"a mask for frame {int(ids.max() if ids.min() >= 0 else ids.min())} of {len(video)}"
    if (np.diff(ids) <= 0).any():
        yield "frames", "the frames of the masks are not in order, or one comes twice"
