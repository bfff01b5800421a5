"""Dense masks: what counts as a mask, its COCO code, its tight box, and boxes between pixels and unit coordinates."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float32, Float64, Num

from revseg.errors import InputError
from revseg.masks.rle import coco


def binary(masks: np.ndarray, what: str = "masks") -> Bool[np.ndarray, "..."]:
    """Masks as bool, from bool or from integers 0/1 or 0/255; InputError for logits, probabilities and labels."""
    if masks.dtype == bool:
        return masks
    if masks.dtype.kind not in "iu":
        raise InputError(
            f"expected {what} of bool (or integers 0/1 or 0/255), got {masks.dtype}: threshold first, logits > 0 or "
            "probabilities > 0.5"
        )
    highest = int(masks.max(initial=0))
    if highest not in (0, 1, 255) or not ((masks == 0) | (masks == highest)).all():
        raise InputError(
            f"expected {what} of bool (or integers 0/1 or 0/255), got other values up to {highest}: threshold first, "
            "logits > 0, or choose an object, labels == 3"
        )
    return masks != 0


def encode(mask: Bool[np.ndarray, "h w"]) -> bytes:
    """One mask as compressed COCO counts."""
    return coco.encode(np.asfortranarray(mask, np.uint8))["counts"]


def tight_box(mask: Bool[np.ndarray, "h w"]) -> tuple[int, int, int, int] | None:
    """The smallest box around the True pixels, in pixels, half-open: (x1, y1, x2, y2). None for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def to_unit(pixels: Num[np.ndarray, "*n c"], size: Sequence[float]) -> Float32[np.ndarray, "*n c"]:
    """Boxes xyxy or points xy, from pixels of a picture of `size` (height, width) to unit coordinates, not clamped."""
    pixels = np.asarray(pixels, np.float64)
    return (pixels / _scale(size, pixels.shape[-1])).astype(np.float32)


def to_pixels(unit: Num[np.ndarray, "*n c"], size: Sequence[float]) -> Float64[np.ndarray, "*n c"]:
    """Boxes xyxy or points xy, from unit coordinates to pixels of a picture of `size` (height, width), not rounded."""
    unit = np.asarray(unit, np.float64)
    return unit * _scale(size, unit.shape[-1])


def _scale(size: Sequence[float], coordinates: int) -> Float64[np.ndarray, " c"]:
    height, width = size
    if height <= 0 or width <= 0:
        raise InputError(f"expected a size (height, width) above zero, got {tuple(size)}")
    return np.tile(np.array([width, height], np.float64), coordinates // 2)
