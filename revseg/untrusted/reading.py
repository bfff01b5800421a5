"""Reads JSON and text from elsewhere. Any damage is an InputError that names the file, the place and the key.

The content of records is described by types (`TypedDict`, `Annotated`), which pydantic checks. Keys that the types do
not name are ignored.
"""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from revseg.errors import InputError
from revseg.masks.rle import brief

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

MAX_DEPTH = 64  # of data that is passed on unchecked, such as a sample's meta; deeper data ends in RecursionErrors
T = TypeVar("T")


def parse_json(text: bytes | str, where: str, what: str = "JSON") -> Any:
    """Parses JSON, given as text or as UTF-8 bytes with or without a byte order mark. InputError for anything else.

    NaN and Infinity, which Python's `json` writes, are accepted here; `checked` refuses them as numbers.
    """
    try:
        return json.loads(text.decode("utf-8-sig") if isinstance(text, bytes) else text)
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)[:200]
        raise InputError(f"{where}: expected {what}, got {brief(text)}: {reason}") from error


def read_json(path: Path, what: str) -> Any:
    """The content of a JSON file. InputError, with what was expected, if it is missing, unreadable or not JSON."""
    if not path.exists():
        raise InputError(f"{path}: expected {what}; there is no such file or folder")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: expected {what}: {error.strerror or error}") from error
    return parse_json(data, str(path), f"{what} as JSON")


def read_text(path: Path, what: str) -> str:
    """The content of a UTF-8 text file. InputError, with what was expected in it, if it is missing or not text."""
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected {what} as UTF-8 text: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: expected {what}: {error.strerror or error}") from error


def well_formed(text: str) -> str:
    """The text without surrogates, which cannot be written as UTF-8: pairs are joined, lone ones become U+FFFD.

    Python reads surrogates from JSON ("\\ud83d"), and from file names and arguments that are not UTF-8.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def checked(value: Any, kind: type[T], where: str) -> T:
    """The value, after checking its type at every level. InputError for the first key of another type."""
    from pydantic import ValidationError

    try:
        _adapter(kind).validate_python(value, strict=True)
    except ValidationError as error:
        raise InputError(f"{where}: {_sentence(error)}") from error
    except RecursionError as error:
        raise InputError(f"{where}: nested too deep") from error
    return value


def shallow(value: Any) -> Any:
    """The value; ValueError if it is nested deeper than `MAX_DEPTH`."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for node in level
            if isinstance(node, Mapping | list | tuple)
            for item in (node.values() if isinstance(node, Mapping) else node)
        ]
        if not level:
            return value
    raise ValueError(f"expected nesting of at most {MAX_DEPTH} levels")


@functools.lru_cache(maxsize=64)
def _adapter(kind: Any) -> "TypeAdapter[Any]":
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _sentence(error: "ValidationError") -> str:
    """Pydantic's first error, such as "rounds[0].answer.form: expected a valid number, got None"."""
    first = error.errors(include_url=False, include_context=False)[0]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")[:200]
    if first["type"] == "missing":
        return f"expected the key {place}, found none"
    message = first["msg"].removeprefix("Value error, ").replace("Input should be", "expected").replace("Input", "it")
    return f"{place or 'the whole'}: {message[:1].lower()}{message[1:200]}, got {brief(first['input'])}"
