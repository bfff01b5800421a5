"""Data from outside: JSON that is damaged in any way is one InputError that names the file, the place and the key.

What a record has to hold is written as types (`TypedDict`, `Annotated`), which pydantic checks; keys that the types do
not name are left alone.
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

MAX_DEPTH = 64  # of what is passed on as it is, such as a sample's meta: anything deeper would end in a RecursionError
T = TypeVar("T")


def parse_json(text: bytes | str, where: str, what: str = "JSON") -> Any:
    """JSON as bytes (UTF-8, with or without a mark at its start) or text. InputError for anything else.

    NaN and Infinity, which Python's own writer makes, are read; `checked` refuses them where a number is expected.
    """
    try:
        return json.loads(text.decode("utf-8-sig") if isinstance(text, bytes) else text)
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)[:200]
        raise InputError(f"{where}: expected {what}, got {brief(text)}: {reason}") from error


def read_json(path: Path, what: str) -> Any:
    """A file's content; InputError, saying what was expected in it, when it is missing, unreadable or no JSON."""
    if not path.exists():
        raise InputError(f"{path}: expected {what}; there is no such file or folder")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: expected {what}: {error.strerror or error}") from error
    return parse_json(data, str(path), f"{what} as JSON")


def read_text(path: Path, what: str) -> str:
    """A UTF-8 text file; InputError, saying what was expected in it, when it is missing or something else."""
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected {what} as UTF-8 text: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: expected {what}: {error.strerror or error}") from error


def well_formed(text: str) -> str:
    """The text as Unicode can be written: halves of a surrogate pair that meet are joined, lone ones become U+FFFD.

    Python reads such halves from JSON ("\\ud83d"), and from file names and arguments that are not UTF-8.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def checked(value: Any, kind: type[T], where: str) -> T:
    """The value, when it is of that type all through; InputError naming the first key that is not."""
    from pydantic import ValidationError

    try:
        _adapter(kind).validate_python(value, strict=True)
    except ValidationError as error:
        raise InputError(f"{where}: {_told(error, value)}") from error
    except RecursionError as error:
        raise InputError(f"{where}: nested too deep") from error
    return value


def shallow(value: Any) -> Any:
    """The value itself; ValueError when it is nested deeper than `MAX_DEPTH`."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for held in level
            if isinstance(held, Mapping | list | tuple)
            for item in (held.values() if isinstance(held, Mapping) else held)
        ]
        if not level:
            return value
    raise ValueError(f"expected nesting of at most {MAX_DEPTH} levels")


@functools.lru_cache(maxsize=64)
def _adapter(kind: Any) -> "TypeAdapter[Any]":
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _told(error: "ValidationError", value: Any) -> str:
    """ "rounds[0].answer.form: expected a valid number, got None"."""
    first = error.errors(include_url=False, include_context=False)[0]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")[:200]
    if first["type"] == "missing":
        return f"expected the key {place}, found none"
    said = first["msg"].removeprefix("Value error, ").replace("Input should be", "expected").replace("Input", "it")
    return f"{place or 'the whole'}: {said[:1].lower()}{said[1:200]}, got {brief(first['input'])}"
