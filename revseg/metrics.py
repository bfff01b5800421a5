"""How well masks agree: J (region), F (contour) and their mean, by DAVIS's own definition (Perazzi et al., CVPR 2016).

The values are those of the official code in every corner, one of them odd: a mask over the *whole* frame has no
boundary, so that against an empty one F is 1 while J is 0. Score at the size of the truth, since F's tolerance grows
with the frame's diagonal.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64
from pycocotools import mask as _coco

from revseg.errors import InputError
from revseg.masks import MaskTrack

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
    """J and F of every frame. Arguments and errors as for `region` and `contour`."""
    pair = _pair(pred, truth, void)
    return Agreement(region(*pair), contour(*pair, tolerance=tolerance))


def region(pred: Masks, truth: Masks, *, void: Masks | None = None) -> Float64[np.ndarray, " t"]:
    """J of every frame: intersection over union, 1 where both are empty. Computed on the run-length codes.

    Tracks (the union of their objects) or boolean arrays [t h w], also mixed; `void` is left out of both.
    Raises InputError when sizes or numbers of frames differ, or the frame ids of two tracks.
    """
    pred, truth = _pair(pred, truth, void)
    values = np.ones(len(pred))
    areas = pred.areas + truth.areas
    for i in np.flatnonzero(areas).tolist():
        common = float(coco.area(coco.merge([pred.rle(0, i), truth.rle(0, i)], intersect=True)))
        values[i] = common / (areas[i] - common)
    return values


def contour(
    pred: Masks, truth: Masks, tolerance: float = 0.008, *, void: Masks | None = None
) -> Float64[np.ndarray, " t"]:
    """F of every frame: F-measure of the boundary pixels that lie near a boundary pixel of the other mask.

    Near is a distance of at most `ceil(tolerance * diagonal)` pixels, or `tolerance` pixels from 1 on. Without any
    boundary on both sides F is 1, on one side 0. Arguments and errors as for `region`.
    """
    pred, truth = _pair(pred, truth, void)
    if not tolerance >= 0:
        raise InputError(f"expected a tolerance of 0 or more, got {tolerance}")
    reach = tolerance if tolerance >= 1 else float(np.ceil(tolerance * np.linalg.norm(pred.size)))
    pairs = zip(_boundaries(pred), _boundaries(truth), strict=True)
    return np.array([_f_measure(p, t, reach) for p, t in pairs], np.float64)


@dataclass(frozen=True, eq=False)
class _Boundary:
    """The boundary pixels of one mask inside the part of the frame that holds them all, from row `y`, column `x` on."""

    y: int
    x: int
    pixels: Bool[np.ndarray, "h w"]

    @property
    def total(self) -> int:
        return int(np.count_nonzero(self.pixels))

    def window(self, y1: int, x1: int, y2: int, x2: int) -> np.ndarray:
        """bool[y2-y1 x2-x1]: these rows and columns of the frame, False where the part does not reach."""
        h, w = self.pixels.shape
        out = np.zeros((y2 - y1, x2 - x1), bool)
        top, bottom = max(y1, self.y), min(y2, self.y + h)
        left, right = max(x1, self.x), min(x2, self.x + w)
        if top < bottom and left < right:
            part = self.pixels[top - self.y : bottom - self.y, left - self.x : right - self.x]
            out[top - y1 : bottom - y1, left - x1 : right - x1] = part
        return out


def _boundaries(track: MaskTrack) -> Iterator[_Boundary]:
    """One frame at a time. A pixel is boundary when it differs from its right, lower or lower-right neighbour."""
    for i in range(len(track)):
        code = track.rle(0, i)
        x, y, w, h = (int(v) for v in coco.toBbox(code))
        y1, x1 = max(y - 1, 0), max(x - 1, 0)
        part = coco.decode(code)[y1 : y + h + 1, x1 : x + w + 1].astype(bool) if w and h else np.zeros((0, 0), bool)
        edges = np.zeros_like(part)
        edges[:-1] |= part[:-1] != part[1:]
        edges[:, :-1] |= part[:, :-1] != part[:, 1:]
        edges[:-1, :-1] |= part[:-1, :-1] != part[1:, 1:]
        yield _Boundary(y1, x1, edges)


def _f_measure(pred: _Boundary, truth: _Boundary, reach: float) -> float:
    if not pred.total or not truth.total:
        return float(pred.total == truth.total)
    # Only here can a pixel of one lie within reach of a pixel of the other: each part grown by the reach, and both.
    far = int(reach)
    y1, x1 = max(pred.y, truth.y) - far, max(pred.x, truth.x) - far
    y2 = min(pred.y + pred.pixels.shape[0], truth.y + truth.pixels.shape[0]) + far
    x2 = min(pred.x + pred.pixels.shape[1], truth.x + truth.pixels.shape[1]) + far
    if y1 >= y2 or x1 >= x2:
        return 0.0
    p, t = pred.window(y1, x1, y2, x2), truth.window(y1, x1, y2, x2)
    precision = np.count_nonzero(p & _near(t, reach)) / pred.total
    recall = np.count_nonzero(t & _near(p, reach)) / truth.total
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def _near(pixels: np.ndarray, reach: float) -> np.ndarray:
    """The pixels within `reach` of a True one: the same set as dilation by a disc, at a cost that knows no radius."""
    import cv2

    if not pixels.any():
        return np.zeros_like(pixels)
    away = (~pixels).astype(np.uint8)
    return cv2.distanceTransform(away, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) <= reach + 1e-3


def _pair(pred: Masks, truth: Masks, void: Masks | None) -> tuple[MaskTrack, MaskTrack]:
    one, other = _track(pred, "prediction"), _track(truth, "truth")
    _same(one, other, "prediction", "truth")
    if isinstance(pred, MaskTrack) and isinstance(truth, MaskTrack) and (one.frame_ids != other.frame_ids).any():
        at = int(np.flatnonzero(one.frame_ids != other.frame_ids)[0])
        raise InputError(
            f"prediction and truth are of other frames: number {at} is frame {one.frame_ids[at]} against "
            f"{other.frame_ids[at]}; align them with .at(frame_ids)"
        )
    if void is None:
        return one, other
    hole = _track(void, "void")
    _same(hole, other, "void", "truth")
    keep = ~hole.dense()
    return (
        MaskTrack.from_dense(one.dense() & keep, one.frame_ids),
        MaskTrack.from_dense(other.dense() & keep, other.frame_ids),
    )


def _same(one: MaskTrack, other: MaskTrack, name: str, other_name: str) -> None:
    if one.size != other.size or len(one) != len(other):
        (h, w), (height, width) = one.size, other.size
        raise InputError(
            f"expected {name} and {other_name} of one size, got {len(one)} frames of {w}x{h} and "
            f"{len(other)} of {width}x{height}; score at the size of the truth"
        )


def _track(masks: Masks, name: str) -> MaskTrack:
    if isinstance(masks, MaskTrack):
        return masks.union()
    array = np.asarray(masks)
    if array.ndim != 3 or array.dtype.kind not in "bui":
        raise InputError(f"expected the {name} as a MaskTrack or bool[t h w], got {array.dtype}{list(array.shape)}")
    return MaskTrack.from_dense(array)
