"""Strategies for replies: good ones, near misses with at most one error, and noise.

Near misses find more than random text does: almost every parser bug shows on a reply that is nearly good.
"""

import json
from typing import Any

from hypothesis import strategies as st

from revseg.testing.strategies import Draw, descriptions
from revseg.types import Clip

KINDS = ("keyframe_json", "box_json", "keyframe_and_box_json")
_ODD = [
    "-1",
    "0",
    "1",
    "0.5",
    "-0.0",
    "true",
    "null",
    "None",
    '"1"',
    '""',
    "[]",
    "{}",
    "[[]]",
    "NaN",
    "Infinity",
    "1e400",
]
_ODD += ["-Infinity", "1" + "0" * 400, "9" * 5000, "'", '"', "\\", "\ud800", "[0, 0, 0, 0]", "[1]", '"\\ud83d"']
_TAGS = ("<think>", "</think>", "<answer>", "</answer>")
_ALIASES = {
    "frame_idx": ["keyframe", "Frame Index", "frame"],
    "object description": ["description", "object_description", "label"],
    "bbox_2d": ["bbox", "box", "BBox-2D", "boxes"],
}


def replies(shown: Clip, kind: str | None = None) -> st.SearchStrategy[str]:
    """Any text that a policy may return: near misses for a kind of round (by default any), and noise."""
    kinds = st.sampled_from(KINDS) if kind is None else st.just(kind)
    near = kinds.flatmap(lambda k: near_misses(shown, k))
    pieces = [*_TAGS, "[", "]", "{", "}", '"', "'", ",", ":", " ", "\n", "```", "```json", "1", "frame_idx", "bbox_2d"]
    noise = st.lists(st.sampled_from(pieces), max_size=30).map("".join)
    return st.one_of(near, near, noise, st.text(max_size=40))


@st.composite
def near_misses(draw: Draw, shown: Clip, kind: str = "keyframe_json") -> str:
    """A good reply of this kind with at most one error: a value, a corner, a key, the JSON or a tag."""
    fields = _good(draw, shown, kind)
    wrong = draw(st.sampled_from(["nothing", "value", "corner", "key", "json", "tag", "around", "items"]))
    height, width = shown.size
    odd = st.sampled_from([*_ODD, str(len(shown) - 1), str(len(shown)), str(width), str(height)])
    if wrong == "value":
        fields[draw(st.sampled_from(list(fields)))] = draw(odd)
    elif wrong == "corner" and "bbox_2d" in fields:
        corners = fields["bbox_2d"].strip("[]").split(", ")
        corners[draw(st.integers(0, 3))] = draw(odd)
        fields["bbox_2d"] = f"[{', '.join(corners)}]"
    elif wrong == "key":
        fields = _with_other_key(draw, fields)
    body = "{" + ", ".join(f'"{key}": {value}' for key, value in fields.items()) + "}"
    body = (
        draw(st.sampled_from(["[]", body, f"[{body}, []]", f"[{body}]\n[{body}]"])) if wrong == "items" else f"[{body}]"
    )
    if wrong == "json":
        body = _damaged(draw, body)
    if kind == "box_json" and draw(st.booleans()):
        return f"```json\n{body}\n```"
    text = f"<think>Frames [1] and {{2}}: it's there.</think><answer>{body}</answer>"
    if wrong == "tag":
        tag = draw(st.sampled_from(_TAGS))
        text = text.replace(tag, draw(st.sampled_from(["", tag * 2, tag.upper(), draw(st.sampled_from(_TAGS))])))
    return f"So: {text} (see [1])" if wrong == "around" else text


def _good(draw: Draw, shown: Clip, kind: str) -> dict[str, str]:
    """The fields of a valid item, as JSON text."""
    fields: dict[str, Any] = {}
    if kind != "box_json":
        fields["frame_idx"] = draw(st.integers(0, len(shown) - 1))
        fields["object description"] = draw(descriptions())
    if kind != "keyframe_json":
        height, width = shown.size
        x1, y1 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        fields["bbox_2d"] = [x1, y1, draw(st.integers(x1 + 1, width)), draw(st.integers(y1 + 1, height))]
    return {key: json.dumps(value) for key, value in fields.items()}


def _with_other_key(draw: Draw, fields: dict[str, str]) -> dict[str, str]:
    """The fields with one key missing, misspelt or superfluous."""
    key = draw(st.sampled_from(list(fields)))
    other = draw(st.sampled_from(["", "extra", *_ALIASES[key]]))
    if other == "extra":
        return fields | {"extra": "1"}
    return {other if name == key else name: value for name, value in fields.items() if name != key or other}


def _damaged(draw: Draw, body: str) -> str:
    """The JSON with a character missing or added, or written as Python."""
    where = draw(st.integers(0, len(body) - 1))
    extra = draw(st.sampled_from(["", ",", "'", '"', "]", "}", "[", "{", ":", "\\", " "]))
    cut, put = body[:where] + body[where + 1 :], body[:where] + extra + body[where:]
    return draw(st.sampled_from([cut, put, body.replace('"', "'"), body.replace("}", ",}"), body[:where]]))
