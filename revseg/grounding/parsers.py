"""Parsers from a reply to an `Answer`: they never raise on any text, take linear time, and grade partial failures.

Every parser here takes `(text, shown)`, the reply and the pictures of its round, and these options:

- `coords`: the unit of coordinates in the text: `pixel` (absolute pixels of the pictures shown, the paper's and
  Qwen2.5-VL's), `per_mille` (0 to 1000, Qwen2-VL's and Qwen3-VL's) or `unit` (0 to 1). `auto` is the policy's unit,
  which `ReVSeg` fills in (`revseg.rollout.geometry`), and `pixel` for a parser that is used by itself;
- `strict`: accept the documented form only: tags in place, valid JSON, a list of dicts with exactly the expected keys;
- `tags`: fail a reply without `<answer>` (`strict` implies it where the round asks for tags).

By default parsing is lenient: it accepts code fences, Python's quotes, trailing commas, full-width signs (`signs.py`),
text around the answer, other names of the keys (`fields.py`), and a dict or a bare box in place of a list. The answer
is the last readable `<answer>` after the thinking, or else all text after the thinking; of several JSON values in it
the last counts. An item's `id` is the number of its object, by which a later round may refer to it; `"role": "context"`
marks an object that only helps to tell the target. Under the key `box_2d` a box is [y1, x1, y2, x2] in thousandths,
whatever `coords` says. `[]` says that the target is not in the video; so does, inside `<answer>`, the word "none" or a
sentence of up to 100 characters without digits or JSON, such as "The dog is not in the video."

`Answer.form` is the share of the round's format rules that are met, in equal weights; each parser lists its rules. An
answer fails (`Answer.error`, one of `FAILURES`) at the first unmet rule without which there is no answer, and keeps its
`form`.
"""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from revseg.errors import SpecError
from revseg.grounding.fields import (
    Fault,
    read_boxes,
    read_description,
    read_keyframe,
    read_object_id,
    read_points,
    read_role,
    size_in,
)
from revseg.grounding.tags import answer_run, last_readable, says_absent, split_reply
from revseg.registry import register
from revseg.types import COORDS, Answer, Clip, Target

FAILURES = {
    "no_think": "strict: the reply does not start with <think>...</think>",
    "no_answer": "nothing follows the thinking, or the required <answer>...</answer> is missing",
    "no_json": "no JSON list or dict can be read; strict: not valid JSON",
    "no_list": "strict: the JSON is not a list of dicts",
    "wrong_keys": "strict: a key is missing, unexpected or misspelt",
    "no_keyframe": "an item has no frame index",
    "keyframe_type": "the frame index is not an integer",
    "keyframe_range": "the frame index is not one of the frames shown",
    "no_description": "an item has no description, or an empty one",
    "no_box": "an item has no box",
    "no_verdict": "neither yes, no nor absent",
    "box_type": "a box is not four finite numbers",
    "box_order": "a box has x1 >= x2 or y1 >= y2",
    "box_outside": "nothing of a box lies in the picture",
    "point_type": "a point is not two finite numbers",
    "point_outside": "a point lies outside the picture",
}


@register("parser", "keyframe_json")
def keyframe_json(text: str, shown: Clip, *, coords: str = "pixel", strict: bool = False, tags: bool = False) -> Answer:
    """Round 1: `<think>...</think><answer>[{"frame_idx": 3, "object description": "..."}]</answer>`.

    Five rules: think tags; answer tags; a JSON list; every frame index valid; every description present.
    """
    return _parse(text, shown, _Format(True, False, True, coords, strict, tags))


@register("parser", "box_json")
def box_json(text: str, shown: Clip, *, coords: str = "auto", strict: bool = False, tags: bool = False) -> Answer:
    """Round 2: `[{"bbox_2d": [x1, y1, x2, y2], "label": "..."}]`, one target per box, each with boxes [1 4].

    Two rules: a JSON list; every box (and `point_2d`, if any) valid. With `tags` four: also think and answer tags.
    """
    return _parse(text, shown, _Format(False, True, tags, coords, strict, tags))


@register("parser", "keyframe_and_box_json")
def keyframe_and_box_json(
    text: str, shown: Clip, *, coords: str = "auto", strict: bool = False, tags: bool = False
) -> Answer:
    """Both in one round: `[{"frame_idx": 3, "object description": "...", "bbox_2d": [x1, y1, x2, y2]}]`, tagged.

    Six rules: those of `keyframe_json`, and every box valid. An item with several boxes is one target with all of them.
    """
    return _parse(text, shown, _Format(True, True, True, coords, strict, tags))


class _Format(NamedTuple):
    """What a reply has to contain."""

    keyframe: bool
    box: bool
    tagged: bool  # the tags count among the rules
    coords: str
    strict: bool
    tags: bool


class _Problem(NamedTuple):
    """An unmet rule; `fatal` when there is no answer without it."""

    kind: str
    detail: str
    fatal: bool = True


def _parse(text: str, shown: Clip, wanted: _Format) -> Answer:
    if wanted.coords not in (*COORDS, "auto"):
        raise SpecError(f"coords={wanted.coords!r}: expected one of {', '.join(COORDS)}, or auto")
    parts = split_reply(text)
    rules: list[_Problem | None] = []
    if wanted.tagged:
        no_think = _Problem("no_think", "expected <think>...</think> first", wanted.strict)
        no_answer = _Problem("no_answer", "expected <answer>...</answer> at the end", wanted.strict or wanted.tags)
        rules += [None if parts.think_tags else no_think, None if parts.answer_tags else no_answer]
    bodies = parts.bodies if wanted.strict else [_CDATA.sub(r"\1", body) for body in parts.bodies]
    items, problem = _items(last_readable(bodies, parts.tagged), parts.tagged, wanted)
    rules.append(problem)
    targets, problems = _targets(items, shown, wanted)
    rules += problems
    form = rules.count(None) / len(rules)
    failure = next((rule for rule in rules if rule is not None and rule.fatal), None)
    if failure is not None:
        return Answer(error=failure.kind, form=form, detail=failure.detail)
    return Answer(targets, form=form)


def _items(body: str, in_tags: bool, wanted: _Format) -> tuple[list[Any] | None, _Problem | None]:
    """The dicts and bare boxes of the answer (None: there is no answer), and what is wrong with its JSON."""
    run = answer_run(body)
    if run is None and not body.strip():
        return None, _Problem("no_answer", "expected an answer after the thinking, got nothing")
    if run is None:
        absent = in_tags and not wanted.strict and says_absent(body)
        problem = _Problem("no_json", f"expected a JSON list, got {body.strip()[:60]!r}", fatal=not absent)
        return ([] if absent else None), problem
    items: list[Any] = []
    for value in run.values:
        one = isinstance(value, dict) or (value and not any(isinstance(v, dict | list) for v in value))
        items += [value] if one else value
    if wanted.strict:
        broken = _Problem("no_json", "expected valid JSON, got brackets that are not closed")
        return items, _strict_problem(body, wanted) if run.whole else broken
    listed = run.whole and len(run.values) == 1 and isinstance(run.values[0], list)
    return items, None if listed else _Problem("no_list", "expected one JSON list", fatal=False)


_CDATA = re.compile(r"<!\[CDATA\[(.*?)(?:\]\]>|\Z)", re.DOTALL)
_FENCE = re.compile(r"```(?:json)?\s(.*)```", re.DOTALL)


def _strict_problem(body: str, wanted: _Format) -> _Problem | None:
    """Why a body is not exactly the expected JSON. Where no tags are expected it may be in a code fence."""
    fenced = _FENCE.fullmatch(body.strip())
    try:
        data = json.loads(fenced[1] if fenced and not wanted.tagged else body)
    except (ValueError, RecursionError) as error:
        return _Problem("no_json", f"not valid JSON: {error}")
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
        return _Problem("no_list", f"expected a list of dicts, got {body.strip()[:60]!r}")
    keys = ({"frame_idx", "object description"} if wanted.keyframe else set()) | ({"bbox_2d"} if wanted.box else set())
    allowed = keys | ({"label", "point_2d"} if wanted.box else set())
    for item in data:
        if not keys <= set(item) <= allowed:
            return _Problem("wrong_keys", f"expected the keys {sorted(keys)}, got {sorted(item)[:6]}")
    return None


def _targets(items: list[Any] | None, shown: Clip, wanted: _Format) -> tuple[tuple[Target, ...], list[_Problem | None]]:
    """The targets, and for each rule about their content None or what is wrong."""
    size = size_in(wanted.coords, shown)
    if wanted.keyframe:
        keyframes, no_keyframe = _all(items, lambda item: read_keyframe(item, len(shown), wanted.strict))
        descriptions, no_description = _all(items, read_description)
        rules = [no_keyframe, no_description]
    else:
        keyframes = [None for _ in items or []]
        descriptions = [read_description(item, needed=False) for item in items or []]
        rules = []
    frames = [None if k is None else int(shown.frame_ids[k]) for k in keyframes]
    numbers, roles = [read_object_id(item) for item in items or []], [read_role(item) for item in items or []]
    named = list(zip(frames, descriptions, numbers, roles, strict=False))
    if not wanted.box:
        return tuple(Target(f, d, object_id=number, role=role) for f, d, number, role in named), rules
    places, no_place = _all(items, lambda item: (read_boxes(item, size, wanted.strict), read_points(item, size)))
    targets = [
        Target(f, d, boxes, points, np.ones(len(points), bool), number, role)
        for (f, d, number, role), (boxes, points) in zip(named, places, strict=False)
    ]
    return tuple(targets if wanted.keyframe else _one_box_each(targets)), [*rules, no_place]


def _all(items: list[Any] | None, field: Callable[[Any], Any]) -> tuple[list[Any], _Problem | None]:
    """A field of every item; or none, and what is wrong with the first bad item."""
    if items is None:
        return [], _Problem("no_json", "expected a JSON list")
    try:
        return [field(item) for item in items], None
    except Fault as fault:
        return [], _Problem(fault.kind, fault.detail)


_NO_POINTS, _NO_LABELS = np.zeros((0, 2), np.float32), np.zeros(0, bool)


def _one_box_each(targets: list[Target]) -> list[Target]:
    """One target per box; an item's points stay with its first box."""
    split = []
    for target in targets:
        first, *others = target.boxes[:, None]
        split.append(replace(target, boxes=first))
        split += [replace(target, boxes=box, points=_NO_POINTS, point_labels=_NO_LABELS) for box in others]
    return split
