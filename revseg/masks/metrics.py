"""How well masks agree: J (region), F (contour) and their mean, by DAVIS's own definition (Perazzi et al., CVPR 2016).

The values are those of the official code in every corner, one of them odd: a mask over the *whole* frame has no
boundary, so that against an empty one F is 1 while J is 0. Score at the size of the truth, since F's tolerance grows
with the frame's diagonal.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64
from pycocotools import mask as _coco

from revseg.errors import InputError
from revseg.masks import packed_masks
from revseg.masks.packed_masks import Bitmap
from revseg.masks.tracks import MaskTrack, binary

coco: Any = _coco
Masks = MaskTrack | np.ndarray


@dataclass(frozen=True, eq=False)
class Agreement:
    """J and F on each frame, in [0, 1]; `j`, `f` are their means and `jf` the mean of these two (J&F)."""

    regions: Float64[np.ndarray, " t"]
    contours: Float64[np.ndarray, " t"]

    @property
    def j(self) -> float:
        return float(self.regions.mean())

    @property
    def f(self) -> float:
        return float(self.contours.mean())

    @property
    def jf(self) -> float:
        return (self.j + self.f) / 2

    def __repr__(self) -> str:
        return f"Agreement(J&F {self.jf:.4f}, J {self.j:.4f}, F {self.f:.4f}, {len(self.regions)} frames)"


def j_and_f(pred: Masks, truth: Masks, *, tolerance: float = 0.008, void: Masks | None = None) -> Agreement:
    """J and F of every frame, in one pass. Arguments and errors as for `region` and `contour`."""
    reach = _reach(pred, tolerance)
    pairs = _bitmaps(*_pair(pred, truth, void))
    parts = [(_regions(p, t), _contours(p, t, line, reach)) for p, t, line in pairs]
    regions, contours = zip(*parts, strict=True) if parts else ((), ())
    return Agreement(_joined(regions), _joined(contours))


def region(pred: Masks, truth: Masks, *, void: Masks | None = None) -> Float64[np.ndarray, " t"]:
    """J of every frame: intersection over union, 1 where both are empty. Of tracks, from their run-length codes.

    Tracks (the union of their objects) or boolean arrays [t h w], also mixed; `void` is left out of both.
    Raises InputError when sizes or numbers of frames differ, or the frame ids of two tracks.
    """
    one, other = _pair(pred, truth, void)
    if isinstance(one, MaskTrack) and isinstance(other, MaskTrack):
        sums = one.areas + other.areas
        both = [coco.merge([one.rle(0, i), other.rle(0, i)], intersect=True) for i in range(len(one))]
        return _ratio(np.array([coco.area(code) for code in both], np.float64), sums)
    return _joined([_regions(p, t) for p, t, _ in _bitmaps(one, other)])


def contour(
    pred: Masks, truth: Masks, tolerance: float = 0.008, *, void: Masks | None = None
) -> Float64[np.ndarray, " t"]:
    """F of every frame: F-measure of the boundary pixels that lie near a boundary pixel of the other mask.

    Near is a distance of at most `ceil(tolerance * diagonal)` pixels, or `tolerance` pixels from 1 on. Without any
    boundary on both sides F is 1, on one side 0. Arguments and errors as for `region`.
    """
    reach = _reach(pred, tolerance)
    return _joined([_contours(p, t, line, reach) for p, t, line in _bitmaps(*_pair(pred, truth, void))])


def _bitmaps(pred: MaskTrack | np.ndarray, truth: MaskTrack | np.ndarray) -> Iterator[tuple[Bitmap, Bitmap, int]]:
    """Some frames at a time, both masks as bitmaps, and the length of a line; lines that are empty are left out."""
    if isinstance(pred, MaskTrack) and isinstance(truth, MaskTrack):
        for part in packed_masks.batches(len(pred), pred.size):
            codes = [*pred.counts[0][part], *truth.counts[0][part]]
            both = packed_masks.unpack_counts(codes, pred.size)
            yield both[: len(codes) // 2], both[len(codes) // 2 :], pred.size[0]
        return
    one, other = np.asarray(pred), np.asarray(truth)
    for part in packed_masks.batches(len(one), one.shape[1:]):
        p, t = packed_masks.pack(one[part]), packed_masks.pack(other[part])
        used = packed_masks.used(p, t)
        yield p[:, used], t[:, used], one.shape[2]


def _regions(pred: Bitmap, truth: Bitmap) -> Float64[np.ndarray, " t"]:
    return _ratio(packed_masks.count(pred & truth), packed_masks.count(pred) + packed_masks.count(truth))


def _ratio(common: np.ndarray, areas: np.ndarray) -> Float64[np.ndarray, " t"]:
    """Intersection over union, of the intersections and the sums of both areas; 1 where both masks are empty."""
    return np.where(areas > 0, common / np.maximum(areas - common, 1), 1.0)


def _contours(pred: Bitmap, truth: Bitmap, line: int, reach: float) -> Float64[np.ndarray, " t"]:
    frames = len(pred)
    edges = packed_masks.boundary(np.concatenate([pred, truth]), line)
    totals = packed_masks.count(edges)
    edges = packed_masks.cropped(edges, gap=2 * int(reach))
    found = packed_masks.near(edges, reach)
    precision = packed_masks.count(edges[:frames] & found[frames:]) / np.maximum(totals[:frames], 1)
    recall = packed_masks.count(edges[frames:] & found[:frames]) / np.maximum(totals[frames:], 1)
    f = 2 * precision * recall / np.where(precision + recall > 0, precision + recall, 1)
    return np.where((totals[:frames] == 0) & (totals[frames:] == 0), 1.0, f)


def _joined(parts: Sequence[np.ndarray]) -> Float64[np.ndarray, " t"]:
    return np.concatenate([np.zeros(0), *parts])


def _reach(masks: Masks, tolerance: float) -> float:
    """The tolerance in pixels."""
    if not tolerance >= 0:
        raise InputError(f"expected a tolerance of 0 or more, got {tolerance}")
    size = masks.size if isinstance(masks, MaskTrack) else np.shape(masks)[-2:]
    return float(tolerance if tolerance >= 1 else np.ceil(tolerance * np.linalg.norm(size)))


def _pair(pred: Masks, truth: Masks, void: Masks | None) -> tuple[MaskTrack, MaskTrack] | tuple[np.ndarray, np.ndarray]:
    """Both as tracks of one object, or both as arrays bool[t h w]: as they came, or where there is a void."""
    one, other = _checked(pred, "prediction"), _checked(truth, "truth")
    _same(one, other, "prediction", "truth")
    if isinstance(one, MaskTrack) and isinstance(other, MaskTrack) and (one.frame_ids != other.frame_ids).any():
        at = int(np.flatnonzero(one.frame_ids != other.frame_ids)[0])
        raise InputError(
            f"prediction and truth are of other frames: number {at} is frame {one.frame_ids[at]} against "
            f"{other.frame_ids[at]}; align them with .at(frame_ids)"
        )
    if void is not None:
        hole = _checked(void, "void")
        _same(hole, other, "void", "truth")
        keep = ~_dense(hole)
        return _dense(one) & keep, _dense(other) & keep
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one, other
    return _track(one), _track(other)


def _same(one: Masks, other: Masks, name: str, other_name: str) -> None:
    (h, w), (height, width) = (m.size if isinstance(m, MaskTrack) else m.shape[1:] for m in (one, other))
    if (len(one), h, w) != (len(other), height, width):
        raise InputError(
            f"expected {name} and {other_name} of one size, got {len(one)} frames of {w}x{h} and "
            f"{len(other)} of {width}x{height}; score at the size of the truth"
        )


def _checked(masks: Masks, name: str) -> Masks:
    """The track's union, or the array as bool[t h w]."""
    if isinstance(masks, MaskTrack):
        return masks.union()
    array = np.asarray(masks)
    if array.ndim != 3:
        raise InputError(f"expected the {name} as a MaskTrack or bool[t h w], got {array.dtype}{list(array.shape)}")
    return binary(array, f"the {name}")


def _track(masks: Masks) -> MaskTrack:
    return masks if isinstance(masks, MaskTrack) else MaskTrack.from_dense(masks)


def _dense(masks: Masks) -> Bool[np.ndarray, "t h w"]:
    return masks.dense()[0] if isinstance(masks, MaskTrack) else masks
