"""Samplers choose the frames that the policy sees: `(video, query, n) -> Clip` of at most `n` frames, in order.

A video with too few frames gives every frame once.
"""

from collections.abc import Sequence

import numpy as np

from revseg import clip_cache as clip_cache  # registers `cached`
from revseg.errors import InputError
from revseg.registry import register
from revseg.types import Clip, Query
from revseg.video import Video


@register("sampler", "uniform")
def uniform(video: Video, query: Query, n: int, /) -> Clip:
    """`n` frames spread evenly over the whole video, the first and the last among them (the paper's rule, n = 16).

    Frame i is `i * (T - 1) / (n - 1)` rounded to the nearest index, halves up: T = 10, n = 4 gives 0, 3, 6, 9. The
    paper only says "uniformly"; this is the rule of Qwen2.5-VL's loader, and it includes both ends, where objects
    enter and leave. n = 1 gives the middle frame, `(T - 1) // 2`.
    """
    return _take(video, _spread(len(video), _positive(n)))


@register("sampler", "fps")
def fps(video: Video, query: Query, n: int, /, *, rate: float = 2.0) -> Clip:
    """The frames nearest to 0, 1/rate, 2/rate ... seconds; where these are more than `n`, n of them evenly spread.

    A rate above the video's gives every frame once. The paper's prompt names 2 frames per second.
    """
    if not 0 < rate < float("inf"):
        raise InputError(f"sampler 'fps': expected a rate above 0, got {rate}")
    step = max(video.fps / rate, 1.0)
    ids = np.floor(np.arange(int(len(video) / step) + 2) * step + 0.5).astype(np.int64)
    ids = ids[ids < len(video)]
    return _take(video, ids[_spread(len(ids), _positive(n))])


@register("sampler", "head")
def head(video: Video, query: Query, n: int, /) -> Clip:
    """The first `n` frames."""
    return _take(video, np.arange(min(_positive(n), len(video))))


@register("sampler", "stride")
def stride(video: Video, query: Query, n: int, /, *, step: int = 1) -> Clip:
    """Frames 0, step, 2 * step ..., the first `n` of them."""
    if step < 1:
        raise InputError(f"sampler 'stride': expected a step of at least 1, got {step}")
    return _take(video, np.arange(0, len(video), step)[: _positive(n)])


@register("sampler", "at")
def at(video: Video, query: Query, n: int, /, *, frames: Sequence[int]) -> Clip:
    """Exactly these frames of the source, in this order, such as a keyframe chosen by the user.

    Raises InputError for no frames, more than `n`, a repeated one, or one outside the video.
    """
    ids = [int(f) for f in frames]
    if not ids or len(ids) > _positive(n) or len(set(ids)) < len(ids):
        raise InputError(f"sampler 'at': expected 1 to {n} different frames, got {list(frames)}")
    return _take(video, np.asarray(ids))


def _spread(total: int, n: int) -> np.ndarray:
    """int64[min(n, total)]: indices spread evenly over 0..total-1, both ends included."""
    if n >= total:
        return np.arange(total)
    if n == 1:
        return np.array([(total - 1) // 2])
    return (2 * np.arange(n) * (total - 1) + (n - 1)) // (2 * (n - 1))


def _positive(n: int) -> int:
    if n < 1:
        raise InputError(f"expected at least 1 frame, got {n}")
    return n


def _take(video: Video, ids: np.ndarray) -> Clip:
    ids = ids.astype(np.int64)
    return Clip(video.read(ids), ids)
