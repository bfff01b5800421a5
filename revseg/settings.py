"""Settings as frozen dataclasses that check themselves: pydantic compares, and one sentence says what is wrong."""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Any, TypeVar, dataclass_transform, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from revseg.errors import InputError
from revseg.masks.rle import brief

OneOrMore = Annotated[int, Field(ge=1)]
ZeroOrMore = Annotated[int, Field(ge=0)]
AboveZero = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]

T = TypeVar("T")
_NOTHING_RENAMED: Mapping[str, str] = MappingProxyType({})
_BOUNDS = {"minimum": "of {} or more", "exclusiveMinimum": "above {}", "maximum": "at most {}"}
_TYPES = {"integer": "a whole number", "number": "a number", "boolean": "true or false", "string": "text"}


@dataclass_transform(frozen_default=True)
def settings(what: str, renamed: Mapping[str, str] = _NOTHING_RENAMED) -> Callable[[type[T]], type[T]]:
    """A class decorator: a frozen dataclass whose values have the types of its fields; InputError when one does not.

    Nothing is converted, except whole numbers to float: "1" is no number, True is no 1. `what` has these settings
    ("training"); `renamed` maps names of earlier versions to those of today, for the error that names them.
    """

    def decorate(cls: type[T]) -> type[T]:
        made: Any = dataclass(cls, frozen=True, config=ConfigDict(strict=True, extra="forbid"))
        kinds = {
            name: hint for name, hint in get_type_hints(made, include_extras=True).items() if name in _fields(made)
        }
        unchecked = made.__init__

        @functools.wraps(unchecked)
        def checked(self: Any, *args: Any, **values: Any) -> None:
            try:
                unchecked(self, *args, **values)
            except ValidationError as error:
                raise InputError(_sentence(error, what, kinds, renamed)) from error

        made.__init__ = checked
        return made

    return decorate


def _fields(cls: Any) -> list[str]:
    return list(cls.__dataclass_fields__)


def _sentence(error: ValidationError, what: str, kinds: Mapping[str, Any], renamed: Mapping[str, str]) -> str:
    """What was expected of the first wrong setting, and what came; or which name is right."""
    first = error.errors(include_url=False)[0]
    cause = first.get("ctx", {}).get("error")
    if cause is not None:  # raised by the class itself, about several settings together
        return str(cause)
    names, place = list(kinds), first["loc"][0]
    if first["type"] == "unexpected_positional_argument":
        return f"{what} has {len(names)} settings, got more: give them by name, as in {names[0]}=..."
    if first["type"] == "unexpected_keyword_argument":
        if place in renamed:
            return f"the {what} setting {place!r} is now called {renamed[str(place)]!r}: rename it"
        return f"{what} has no setting {place!r}; it has {', '.join(names)}"
    name = names[place] if isinstance(place, int) else place
    return f"expected {name} to be {in_words(TypeAdapter(kinds[name]).json_schema())}, got {brief(first['input'])}"


def in_words(schema: Mapping[str, Any]) -> str:
    """ "a number above 0 and at most 1", "one of adamw, muon": what a JSON schema of one value allows."""
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}"
    if "anyOf" in schema:
        return " or ".join(in_words(part) for part in schema["anyOf"])
    kind = _TYPES.get(schema.get("type", ""), str(schema.get("type", "anything")))
    bounds = " and ".join(words.format(schema[key]) for key, words in _BOUNDS.items() if key in schema)
    return f"{kind} {bounds}".strip()
