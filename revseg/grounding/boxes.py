"""Boxes as arithmetic: xyxy, half-open, unit (divided by width and height) unless a name says pixels."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Float64, Num

from revseg.errors import InputError
from revseg.masks import binary


def iou(a: Num[np.ndarray, "k 4"], b: Num[np.ndarray, "m 4"]) -> Float64[np.ndarray, "k m"]:
    """Intersection over union of each box of `a` with each of `b`, in [0, 1]; 0 with an empty box.

    Continuous and half-open: no pixel is added to a side. Both sets in the same unit, whichever it is.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    corner_low = np.maximum(a[:, None, :2], b[None, :, :2])
    corner_high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.prod(np.clip(corner_high - corner_low, 0, None), axis=-1)
    union = areas(a)[:, None] + areas(b)[None, :] - inter
    return np.divide(inter, union, out=np.zeros_like(inter), where=(inter > 0) & (union > 0)).clip(0, 1)


def areas(boxes: Num[np.ndarray, "k 4"]) -> Float64[np.ndarray, " k"]:
    """Width times height of each box, in the boxes' unit; 0 for a box whose corners are out of order."""
    boxes = np.asarray(boxes, np.float64)
    return np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=-1)


def to_unit(pixels: Num[np.ndarray, "k 4"], size: Sequence[int]) -> Float32[np.ndarray, "k 4"]:
    """Pixels of a picture of `size` (height, width) to unit coordinates. Nothing is clamped."""
    return (np.asarray(pixels, np.float64) / _scale(size)).astype(np.float32)


def to_pixels(unit: Num[np.ndarray, "k 4"], size: Sequence[int]) -> Float64[np.ndarray, "k 4"]:
    """Unit coordinates to pixels of a picture of `size` (height, width), not rounded."""
    return np.asarray(unit, np.float64) * _scale(size)


def clamp(boxes: Num[np.ndarray, "k 4"]) -> Float32[np.ndarray, "k 4"]:
    """Unit boxes cut off at the picture's edges; a box wholly outside becomes empty."""
    return np.asarray(boxes, np.float32).clip(0, 1)


def box_of(mask: np.ndarray) -> Float32[np.ndarray, "4"]:
    """The tight unit box of a mask bool[h w] (or 0/1, 0/255); zeros when it is empty, as in `MaskTrack.boxes`."""
    mask = binary(mask, "a mask")
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return np.zeros(4, np.float32)
    pixels = np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]])
    return to_unit(pixels, mask.shape)[0]


def union_box(boxes: Num[np.ndarray, "k 4"]) -> Float32[np.ndarray, "4"]:
    """The smallest box that holds all of them; zeros when there is none."""
    boxes = np.asarray(boxes, np.float32)
    if not len(boxes):
        return np.zeros(4, np.float32)
    return np.concatenate([boxes[:, :2].min(0), boxes[:, 2:].max(0)])


def _scale(size: Sequence[int]) -> Float64[np.ndarray, "4"]:
    height, width = size
    if height <= 0 or width <= 0:
        raise InputError(f"expected a size (height, width) above zero, got {tuple(size)}")
    return np.array([width, height, width, height], np.float64)
