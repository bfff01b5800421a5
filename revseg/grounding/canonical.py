"""From an `Answer` to its canonical reply, for supervised examples and for policies without a model."""

import json
from typing import Any

import numpy as np

from revseg.errors import InputError
from revseg.grounding.fields import size_in
from revseg.types import COORDS, Answer, Clip, Target

KINDS = ("keyframe_json", "box_json", "keyframe_and_box_json")


def render(
    answer: Answer,
    shown: Clip,
    *,
    kind: str,
    coords: str = "pixel",
    tags: bool = False,
    step: float = 0.0,
    compact: bool = False,
    thinking: str = "",
) -> str:
    """The canonical reply for a round. The parser named `kind` reads the same answer from it, bit for bit.

    `shown` are the pictures of that round, and `coords` is the unit of the coordinates, as for the parsers. `tags` adds
    tags to a `box_json` reply too. A `step` above 0 rounds coordinates to its multiples, with both sides of a box at
    least one step apart; the reply is then not exact. `compact` omits the spaces between fields. Raises InputError for
    an answer that has no such reply: a failed one, a target without a required field, a point off the target.
    """
    if kind not in KINDS or coords not in COORDS:
        raise InputError(
            f"expected a kind of {', '.join(KINDS)} and coords of {', '.join(COORDS)}, got {kind}, {coords}"
        )
    if answer.error is not None:
        raise InputError(f"a failed answer ({answer.error}) has no reply")
    height, width = size_in(coords, shown)
    scale = np.array([width, height], np.float64)
    items = [item for target in answer.targets for item in _items(target, shown, kind, scale, step)]
    # "<" as a JSON escape cannot be mistaken for a tag.
    separators = (",", ":") if compact else None
    text = json.dumps(items, ensure_ascii=False, separators=separators).replace("<", "\\u003c")
    if kind == "box_json" and not tags:
        return text
    return f"<think>{thinking}</think><answer>{text}</answer>"


def _items(target: Target, shown: Clip, kind: str, scale: np.ndarray, step: float) -> list[dict[str, Any]]:
    if not target.point_labels.all():
        raise InputError("expected points on the target only, got one off it, for which replies have no form")
    boxes = [_coordinates(box, np.tile(scale, 2), step) for box in target.boxes]
    points: list[Any] = [_coordinates(point, scale, 0) for point in target.points]
    point: dict[str, Any] = {"point_2d": points[0] if len(points) == 1 else points} if points else {}
    if kind != "keyframe_json" and not boxes:
        raise InputError(f"expected a target with a box, got {target}")
    extra: dict[str, Any] = {} if target.object_id is None else {"id": target.object_id}
    extra |= {} if target.role == "target" else {"role": target.role}
    if kind == "box_json":
        label = {"label": target.description} if target.description else {}
        return [{"bbox_2d": box} | label | extra | (point if number == 0 else {}) for number, box in enumerate(boxes)]
    indices = np.flatnonzero(shown.frame_ids == target.frame_id)
    if target.frame_id is None or not len(indices) or not target.description.strip():
        raise InputError(f"expected a target with a description, on one of the frames shown; got {target}")
    item = {"frame_idx": int(indices[0]), "object description": target.description} | extra
    if kind == "keyframe_json":
        return [item]
    return [item | {"bbox_2d": boxes[0] if len(boxes) == 1 else boxes} | point]


def _coordinates(unit: np.ndarray, scale: np.ndarray, step: float) -> list[int | float]:
    if step <= 0:
        return [_shortest(u, s) for u, s in zip(unit, scale, strict=True)]
    low, high = np.split(np.round(unit * scale / step), 2)
    last = np.floor(scale[:2] / step)
    low = np.minimum(low, last - 1)
    return [_whole(value * step) for value in (*low, *np.maximum(np.minimum(high, last), low + 1))]


def _shortest(unit: np.float32, scale: float) -> int | float:
    """The coordinate with the fewest decimals that the parser reads as the same float32."""
    exact = float(unit) * scale
    for decimals in range(17):
        value = round(exact, decimals)
        if np.float32(value / scale) == unit:
            return _whole(value)
    return exact


def _whole(value: float) -> int | float:
    return int(value) if float(value).is_integer() else float(value)
