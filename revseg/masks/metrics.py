"""J (region similarity), F (contour accuracy) and their mean J&F, as DAVIS defines them (Perazzi et al., CVPR 2016).

Values equal those of the official code in every corner case, one of them odd: a mask of the *whole* frame has no
boundary, so its F against an empty mask is 1 while J is 0. Score at the size of the truth, since F's tolerance grows
with the frame's diagonal.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from revseg.errors import InputError
from revseg.masks import packed_masks
from revseg.masks.dense import binary
from revseg.masks.packed_masks import Bitmap
from revseg.masks.rle import coco
from revseg.masks.tracks import MaskTrack

Masks = MaskTrack | np.ndarray


@dataclass(frozen=True, eq=False)
class Agreement:
    """J and F of every frame, in [0, 1]; `j` and `f` are the means over frames, `jf` the mean of the two (J&F)."""

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
    radius = _radius(pred, tolerance)
    pairs = _bitmaps(*_pair(pred, truth, void))
    parts = [(_regions(p, t), _contours(p, t, line, radius)) for p, t, line in pairs]
    regions, contours = zip(*parts, strict=True) if parts else ((), ())
    return Agreement(_joined(regions), _joined(contours))


def region(pred: Masks, truth: Masks, *, void: Masks | None = None) -> Float64[np.ndarray, " t"]:
    """J of every frame: intersection over union, 1 where both masks are empty.

    `pred` and `truth` are tracks (the union of their objects is scored, from the run-length codes) or boolean arrays
    [t h w], also mixed. Pixels of `void` are ignored.
    Raises InputError when sizes or numbers of frames differ, or the frame ids of two tracks.
    """
    one, other = _pair(pred, truth, void)
    if isinstance(one, MaskTrack) and isinstance(other, MaskTrack):
        return _ratio(intersections(one, other), one.areas + other.areas)
    return _joined([_regions(p, t) for p, t, _ in _bitmaps(one, other)])


def object_regions(pred: MaskTrack, truth: MaskTrack) -> Float64[np.ndarray, "o t"]:
    """J of every object on every frame; object i of the prediction is scored against object i of the truth."""
    return np.stack([region(pred.select([o]), truth.select([o])) for o in range(truth.objects)])


def intersections(one: MaskTrack, other: MaskTrack) -> Float64[np.ndarray, " t"]:
    """Pixels that the first objects of two tracks share on each frame, from the run-length codes."""
    both = [coco.merge([one.rle(0, i), other.rle(0, i)], intersect=True) for i in range(len(one))]
    return np.array([coco.area(code) for code in both], np.float64)


def contour(
    pred: Masks, truth: Masks, tolerance: float = 0.008, *, void: Masks | None = None
) -> Float64[np.ndarray, " t"]:
    """F of every frame: the harmonic mean of precision and recall of the boundary pixels.

    A boundary pixel is correct when one of the other mask lies within `ceil(tolerance * diagonal)` pixels of it; a
    `tolerance` of 1 or more is that distance in pixels. When neither mask has a boundary F is 1, when only one has, 0.
    Arguments and errors as for `region`.
    """
    radius = _radius(pred, tolerance)
    return _joined([_contours(p, t, line, radius) for p, t, line in _bitmaps(*_pair(pred, truth, void))])


def _bitmaps(pred: MaskTrack | np.ndarray, truth: MaskTrack | np.ndarray) -> Iterator[tuple[Bitmap, Bitmap, int]]:
    """(prediction, truth, length of a line) for some frames at a time, cropped to the lines that hold pixels."""
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
    """Intersection over union, from the intersections and the sums of both areas; 1 where both masks are empty."""
    return np.where(areas > 0, common / np.maximum(areas - common, 1), 1.0)


def _contours(pred: Bitmap, truth: Bitmap, line: int, radius: float) -> Float64[np.ndarray, " t"]:
    frames = len(pred)
    edges = packed_masks.boundary(np.concatenate([pred, truth]), line)
    totals = packed_masks.count(edges)
    edges = packed_masks.cropped(edges, gap=2 * int(radius))
    near = packed_masks.dilated(edges, radius)
    precision = packed_masks.count(edges[:frames] & near[frames:]) / np.maximum(totals[:frames], 1)
    recall = packed_masks.count(edges[frames:] & near[:frames]) / np.maximum(totals[frames:], 1)
    f = 2 * precision * recall / np.where(precision + recall > 0, precision + recall, 1)
    return np.where((totals[:frames] == 0) & (totals[frames:] == 0), 1.0, f)


def _joined(parts: Sequence[np.ndarray]) -> Float64[np.ndarray, " t"]:
    return np.concatenate([np.zeros(0), *parts])


def _radius(masks: Masks, tolerance: float) -> float:
    """The tolerance in pixels."""
    if not tolerance >= 0:
        raise InputError(f"expected a tolerance of 0 or more, got {tolerance}")
    size = masks.size if isinstance(masks, MaskTrack) else np.shape(masks)[-2:]
    return float(tolerance if tolerance >= 1 else np.ceil(tolerance * np.linalg.norm(size)))


def _pair(pred: Masks, truth: Masks, void: Masks | None) -> tuple[MaskTrack, MaskTrack] | tuple[np.ndarray, np.ndarray]:
    """Both as tracks of one object, or both as arrays bool[t h w]; arrays where both came so or there is a void."""
    one, other = _checked(pred, "prediction"), _checked(truth, "truth")
    _check_same_size(one, other, "prediction", "truth")
    if isinstance(one, MaskTrack) and isinstance(other, MaskTrack) and (one.frame_ids != other.frame_ids).any():
        at = int(np.flatnonzero(one.frame_ids != other.frame_ids)[0])
        raise InputError(
            f"expected prediction and truth on the same frames, got frame {one.frame_ids[at]} and frame "
            f"{other.frame_ids[at]} at position {at}; align them with .at(frame_ids)"
        )
    if void is not None:
        ignored = _checked(void, "void")
        _check_same_size(ignored, other, "void", "truth")
        keep = ~_dense(ignored)
        return _dense(one) & keep, _dense(other) & keep
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one, other
    return _track(one), _track(other)


def _check_same_size(one: Masks, other: Masks, name: str, other_name: str) -> None:
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
