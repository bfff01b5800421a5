"""The fields of one item of an answer: frame index, description, unit boxes and points, from what the model wrote.

An item is a dict, or a bare list (one box or several). Each reader raises `Fault` with a kind of `parsers.FAILURES`.
"""

import math
import re
from typing import Any

import numpy as np
from jaxtyping import Float32

from revseg.grounding.boxes import to_unit
from revseg.grounding.signs import plain_number, visible
from revseg.types import MAX_OBJECT_ID, Clip

KEYFRAME_KEYS = ("frame_idx", "frame_index", "keyframe", "key_frame", "keyframe_idx", "keyframe_index", "frame_id")
KEYFRAME_KEYS += ("frame_number", "frame")
DESCRIPTION_KEYS = ("object_description", "description", "label", "object", "target", "caption")
BOX_KEYS = ("bbox_2d", "bbox", "box", "box_2d", "bounding_box", "bboxes", "boxes")
ID_KEYS = ("id", "object_id", "target_id", "instance_id")
POINT_KEYS = ("point_2d", "point", "points")
Y_FIRST = ("box_2d",)  # [y1, x1, y2, x2] in thousandths, whatever `coords` says

Size = tuple[int, int]  # (height, width) of a picture, in the unit of the text's coordinates


class Fault(Exception):
    """A rule that an item does not meet. Parsers catch it."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(kind, detail)
        self.kind = kind
        self.detail = detail


def size_in(coords: str, shown: Clip) -> Size:
    """The size of the pictures shown, in the unit `coords` (one of `COORDS`, or "auto", which is pixel)."""
    return {"auto": shown.size, "pixel": shown.size, "per_mille": (1000, 1000), "unit": (1, 1)}[coords]


def read_keyframe(item: Any, frames: int, strict: bool = False) -> int:
    """An index into `frames` frames: 3, "3" or 3.0; with `strict` only 3."""
    value = _field(item, KEYFRAME_KEYS)
    if value is _MISSING:
        raise Fault("no_keyframe", f"expected frame_idx in each item, got {_short(item)}")
    if not strict and isinstance(value, str) and re.fullmatch(r"\s*[-+]?\d{1,18}\s*", plain_number(value)):
        value = int(plain_number(value))
    if not strict and isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Fault("keyframe_type", f"expected an integer frame_idx, got {_short(value)}")
    if not 0 <= value < frames:
        raise Fault("keyframe_range", f"expected frame_idx in 0..{frames - 1}, got {_short(value)}")
    return value


def read_description(item: Any, needed: bool = True) -> str:
    """The description, stripped; "" where there is none and none is needed."""
    value = _field(item, DESCRIPTION_KEYS)
    text = value.strip() if isinstance(value, str) else ""
    if needed and not text:
        raise Fault("no_description", f"expected an object description in each item, got {_short(item)}")
    return text


def read_object_id(item: Any) -> int | None:
    """The item's own number for its object, by which later rounds speak of it; None where it gives no whole number."""
    value = _field(item, ID_KEYS)
    if isinstance(value, str) and re.fullmatch(r"\s*\d{1,9}\s*", plain_number(value)):
        value = int(plain_number(value))
    return value if type(value) is int and 0 <= value <= MAX_OBJECT_ID else None


def read_role(item: Any) -> str:
    """ "context" for an object that only helps to tell the target, where the item says so under "role"."""
    value = _field(item, ("role",))
    return "context" if isinstance(value, str) and value.strip().lower() == "context" else "target"


def read_boxes(item: Any, size: Size, strict: bool = False) -> Float32[np.ndarray, "k 4"]:
    """The item's boxes as unit boxes, at least one. With `strict` exactly one."""
    key, value = (None, item) if isinstance(item, list) else _entry(item, BOX_KEYS)
    if value is _MISSING:
        raise Fault("no_box", f"expected bbox_2d in each item, got {_short(item)}")
    if key in Y_FIRST:
        return _y_first(value, strict)
    several = not strict and isinstance(value, list) and value and all(isinstance(v, list) for v in value)
    return np.stack([_box(box, size) for box in (value if several else [value])])


def _y_first(value: Any, strict: bool) -> Float32[np.ndarray, "k 4"]:
    """Boxes [y1, x1, y2, x2] in thousandths, as Gemini and Gemma write them under this key."""
    try:
        return read_boxes({"bbox_2d": value}, (1000, 1000), strict)[:, [1, 0, 3, 2]]
    except Fault as fault:
        raise Fault(fault.kind, f"{fault.detail} (box_2d: [y1, x1, y2, x2] in thousandths)") from None


def read_points(item: Any, size: Size) -> Float32[np.ndarray, "m 2"]:
    """The item's points as unit xy; an empty array where it has none."""
    value = _field(item, POINT_KEYS)
    if value is _MISSING or value is None or value == []:
        return np.zeros((0, 2), np.float32)
    height, width = size
    points = []
    for point in value if isinstance(value, list) and isinstance(value[0], list) else [value]:
        numbers = np.array(_numbers(point, 2, "point_type")).clip(-1e9, 1e9)  # float32 could not hold 1e300
        unit = to_unit(numbers, size)
        if not ((unit >= 0) & (unit <= 1)).all():
            raise Fault("point_outside", f"expected a point in {width:g} by {height:g}, got {_short(point)}")
        points.append(unit)
    return np.stack(points)


def _box(value: Any, size: Size) -> Float32[np.ndarray, "4"]:
    x1, y1, x2, y2 = _numbers(value, 4, "box_type")
    if x1 >= x2 or y1 >= y2:
        raise Fault("box_order", f"expected [x1, y1, x2, y2] with x1 < x2 and y1 < y2, got {_short(value)}")
    height, width = size
    inside = np.array([x1, y1, x2, y2]).clip(0, [width, height, width, height]) + 0.0  # + 0.0: no negative zero
    box = to_unit(inside, size)
    if box[0] >= box[2] or box[1] >= box[3]:
        raise Fault("box_outside", f"expected a box in {width:g} by {height:g}, got {_short(value)}")
    return box


def _numbers(value: Any, count: int, kind: str) -> list[float]:
    numbers = value if isinstance(value, list) else []
    ok = len(numbers) == count and all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers)
    if not ok or not all(math.isfinite(n) for n in numbers):
        raise Fault(kind, f"expected {count} numbers, got {_short(value)}")
    return [float(n) for n in numbers]


_MISSING = object()


def _field(item: Any, keys: tuple[str, ...]) -> Any:
    """The value under the first of these keys."""
    return _entry(item, keys)[1]


def _entry(item: Any, keys: tuple[str, ...]) -> tuple[str | None, Any]:
    """The first of these keys that is there, with its value; case, spaces, dashes and underscores do not matter."""
    if not isinstance(item, dict):
        return None, _MISSING
    plain = {re.sub(r"[\s_-]+", "_", visible(key).strip().lower()): value for key, value in item.items()}
    return next(((key, plain[key]) for key in keys if key in plain), (None, _MISSING))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
