"""How an error names what a part returned."""

from typing import Any

import numpy as np

from revseg.errors import PartError
from revseg.types import Clip


def wrong(part: str, expected: str, came: Any) -> PartError:
    return PartError(f"{part}: expected {expected}, got {describe(came)}")


def describe(value: Any) -> str:
    """A value in a few words: an array by its type and shape, anything else by its repr."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        nan = value.dtype.kind == "f" and np.isnan(value).any() if isinstance(value, np.ndarray) else False
        return f"{value.dtype}{list(value.shape)}{' with NaN' if nan else ''}"
    if isinstance(value, list | tuple) and len(value) <= 4:
        return f"({', '.join(describe(item) for item in value)})"
    return "None" if value is None else f"{type(value).__name__} {value!r:.80}"


def is_array(value: Any, kinds: str, axes: int) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in kinds and value.ndim == axes


def check_frames(part: str, found: Clip) -> None:
    frames, ids = found.frames, found.frame_ids
    if not is_array(frames, "u", 4) or frames.dtype != np.uint8 or frames.shape[-1] != 3 or 0 in frames.shape[1:3]:
        raise wrong(part, "frames uint8[t h w 3]", frames)
    if not is_array(ids, "i", 1) or len(ids) != len(frames):
        raise wrong(part, f"frame ids int64[{len(frames)}], one per frame", ids)
