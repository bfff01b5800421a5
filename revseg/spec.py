"""Specs as text: a name with options, such as "box:size=840,label='a b'"."""

import ast
import contextlib
import json
import re
from collections.abc import Mapping
from typing import Any

from revseg.errors import SpecError

_LITERALS = {"True": True, "False": False, "None": None, "true": True, "false": False, "none": None}


def parse_spec(text: str) -> tuple[str, dict[str, Any]]:
    """`"box:size=840,label='a b'"` -> `("box", {"size": 840, "label": "a b"})`.

    SpecError if the text is not of that form.
    """
    name, colon, rest = text.partition(":")
    if colon and (name.endswith(".py") or not _is_option(rest)):
        attribute, colon, rest = rest.partition(":")
        name = f"{name}:{attribute}"
    options: dict[str, Any] = {}
    for number, item in enumerate(_split(rest) if colon else [], 1):
        key, equals, value = item.partition("=")
        if not equals or not key.strip().isidentifier():  # no value is shown: it may be a password
            raise SpecError(
                f"cannot read the spec {_shown(text)!r}: expected name:option=value,...; see option {number}"
            )
        if key.strip() in options:
            raise SpecError(f"cannot read the spec {_shown(text)!r}: {key.strip()} is given twice")
        options[key.strip()] = _value(value.strip())
    if not name.strip():
        raise SpecError(f"cannot read the spec {_shown(text)!r}: the name is missing")
    return name.strip(), options


def format_spec(name: str, options: Mapping[str, Any]) -> str:
    """The inverse of `parse_spec`: `("box", {"size": 840})` -> `"box:size=840"`."""
    if not options:
        return name
    return f"{name}:{','.join(f'{key}={_text(value)}' for key, value in options.items())}"


def _shown(text: str) -> str:
    """A spec for an error message: with the names of its options, without their values."""
    name, colon, rest = text.partition(":")
    items = [key + "=..." if equals else "..." for key, equals, _ in (item.partition("=") for item in rest.split(","))]
    return f"{name}:{','.join(items)}" if colon else text


def read_spec(kind: str, spec: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name and options of a spec, as text or mapping. SpecError when it is not of that form."""
    if isinstance(spec, str):
        return parse_spec(spec)
    options = dict(spec)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise SpecError(f'{kind} spec with {list(spec)}: expected a "name"')
    return name, options


def is_import_path(name: str) -> bool:
    """Whether a name has a form that the registry imports: "file.py:name" or "package.module:name"."""
    source, _, attribute = name.partition(":")
    parts = source.split(".")
    return attribute.isidentifier() and (source.endswith(".py") or all(part.isidentifier() for part in parts))


def _is_option(text: str) -> bool:
    return re.match(r"\s*[A-Za-z_]\w*\s*=", text) is not None


def _split(text: str) -> list[str]:
    """Splits at commas outside quotes and brackets. A backslash escapes in double quotes, as in JSON, only."""
    items, depth, quote, start, escaped = [], 0, "", 0, False
    for i, char in enumerate(text):
        if escaped:
            escaped = False
        elif quote:
            escaped = char == "\\" and quote == '"'
            quote = "" if char == quote else quote
        elif char in "\"'" and (i == 0 or text[i - 1] in "=[,({: "):
            quote = char
        elif char in "[{(":
            depth += 1
        elif char in ")}]":
            depth -= 1
        elif char == "," and depth == 0:
            items.append(text[start:i])
            start = i + 1
    return [*items, text[start:]]


def _value(text: str) -> Any:
    if text in _LITERALS:
        return _LITERALS[text]
    if len(text) >= 2 and text[0] == text[-1] == "'":
        return text[1:-1]
    for read in (json.loads, ast.literal_eval) if text.startswith(("[", "{", "(")) else (json.loads,):
        with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            return read(text)
    return text


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, str) and _value(value) == value and re.fullmatch(r"[\w./~@+-][\w ./~@+:-]*(?<! )", value):
        return value
    return json.dumps(value)
