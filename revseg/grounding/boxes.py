"""Operations on boxes: xyxy, half-open, in unit coordinates (divided by width and height) unless a name says pixels."""

import numpy as np
from jaxtyping import Float32, Float64, Num

from revseg.masks.dense import binary, tight_box, to_pixels, to_unit

__all__ = ["areas", "box_iou", "box_of", "clamp", "iou", "to_pixels", "to_unit", "union_box"]


def iou(a: Num[np.ndarray, "k 4"], b: Num[np.ndarray, "m 4"]) -> Float64[np.ndarray, "k m"]:
    """Intersection over union of each box of `a` with each of `b`, in [0, 1]; 0 where either is empty.

    Sides are differences of coordinates, without COCO's or VOC's extra pixel. Both sets must be in the same unit.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    corner_low = np.maximum(a[:, None, :2], b[None, :, :2])
    corner_high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.prod(np.clip(corner_high - corner_low, 0, None), axis=-1)
    union = areas(a)[:, None] + areas(b)[None, :] - inter
    return np.divide(inter, union, out=np.zeros_like(inter), where=(inter > 0) & (union > 0)).clip(0, 1)


def box_iou(a: Num[np.ndarray, "4"], b: Num[np.ndarray, "4"]) -> float:
    """`iou` of two boxes."""
    return float(iou(a[None], b[None])[0, 0])


def areas(boxes: Num[np.ndarray, "k 4"]) -> Float64[np.ndarray, " k"]:
    """Width times height of each box, in the boxes' unit; 0 for a box whose corners are out of order."""
    boxes = np.asarray(boxes, np.float64)
    return np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=-1)


def clamp(boxes: Num[np.ndarray, "k 4"]) -> Float32[np.ndarray, "k 4"]:
    """Unit boxes cropped to the picture; a box entirely outside becomes empty."""
    return np.asarray(boxes, np.float32).clip(0, 1)


def box_of(mask: np.ndarray) -> Float32[np.ndarray, "4"]:
    """The tight unit box of a mask bool[h w] (or 0/1, 0/255); zeros when it is empty, as in `MaskTrack.boxes`."""
    pixels = tight_box(binary(mask, "a mask"))
    return np.zeros(4, np.float32) if pixels is None else to_unit(np.array(pixels), mask.shape)


def union_box(boxes: Num[np.ndarray, "k 4"]) -> Float32[np.ndarray, "4"]:
    """The smallest box around all boxes; zeros when there is none."""
    boxes = np.asarray(boxes, np.float32)
    if not len(boxes):
        return np.zeros(4, np.float32)
    return np.concatenate([boxes[:, :2].min(0), boxes[:, 2:].max(0)])
