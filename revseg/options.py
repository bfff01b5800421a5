"""Options of a part: those of a class's constructor or of a function's keyword-only arguments, and their types."""

import functools
import inspect
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Any, Union, get_args, get_origin

from revseg.errors import SpecError
from revseg.suggest import unknown

_PLAIN = (str, int, float, bool, type(None))


def options_of(part: Any) -> dict[str, inspect.Parameter]:
    """The options of an unbuilt part: a class's constructor arguments, a function's keyword-only arguments."""
    try:
        parameters = inspect.signature(part).parameters
    except (TypeError, ValueError):
        return {}
    keyword_only = not inspect.isclass(part)
    kinds = (
        (inspect.Parameter.KEYWORD_ONLY,)
        if keyword_only
        else (
            inspect.Parameter.KEYWORD_ONLY,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
        )
    )
    return {name: p for name, p in parameters.items() if p.kind in kinds}


def check_options(kind: str, name: str, part: Any, options: Mapping[str, Any]) -> None:
    """SpecError for an option that the part does not have, for a missing one, and for a value of another type."""
    known = options_of(part)
    for option in options:
        if option not in known:
            raise SpecError(unknown(f"option of {kind} {name!r}", option, list(known)))
    missing = [o for o, p in known.items() if p.default is inspect.Parameter.empty and o not in options]
    if missing:
        raise SpecError(f"{kind} {name!r} needs {', '.join(missing)}: write {name}:{missing[0]}=...")
    for option, value in options.items():
        if not _of_kind(value, known[option].annotation):
            wanted = getattr(known[option].annotation, "__name__", None) or str(known[option].annotation)
            raise SpecError(f"{kind} {name!r}: expected {option} of type {wanted}, got {value!r:.80}")


def construct(part: Any, options: Mapping[str, Any]) -> Any:
    """A class built with its options, a function with its options bound."""
    if inspect.isclass(part):
        return part(**options)
    return functools.partial(part, **options) if options else part


def _of_kind(value: Any, annotation: Any) -> bool:
    """False if the value, as read from a spec, is not of the option's annotated type; True if that is unclear."""
    if type(value) not in (*_PLAIN, list, tuple, dict):
        return True
    if isinstance(annotation, UnionType) or get_origin(annotation) is Union:
        return any(_of_kind(value, kind) for kind in get_args(annotation))
    if annotation in _PLAIN:
        number = type(value) is int and (annotation is float or (annotation is bool and value in (0, 1)))
        return number or type(value) is annotation
    holder, items = get_origin(annotation) or annotation, get_args(annotation)
    if holder in (Sequence, list):
        return isinstance(value, list | tuple) and (not items or all(_of_kind(item, items[0]) for item in value))
    return isinstance(value, dict) if holder in (Mapping, dict) else True
