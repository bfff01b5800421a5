"""Rounds in the geometry of a policy: the unit of coordinates and the sizes of pictures, where a plan leaves them open.

A prompt or parser leaves the unit open if its option `coords` is "auto". It leaves the size open if it has an option
`size` that is not given: its default is rounded to the nearest multiple that the policy reads. What is given is kept.
"""

import functools
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from revseg.registry import options_of, read_spec, registry
from revseg.rollout.plans import PAIRS
from revseg.spec import format_spec
from revseg.types import Geometry, Plan, Rollout, Round

_KINDS = ("prompt", "parser")


@dataclass(frozen=True)
class FittedPlan:
    """A plan, a function or an object, whose rounds are asked and read in a policy's geometry."""

    plan: Plan
    geometry: Geometry

    def __call__(self, rollout: Rollout, /) -> Round | None:
        round_ = self.plan(rollout)
        if not isinstance(round_, Round):  # None, or a mistake that `ask` reports
            return round_
        prompt = _fitted("prompt", round_.prompt, self.geometry)
        return replace(round_, prompt=prompt, parser=_fitted("parser", round_.parser, self.geometry))


def fitted_spec(plan: Any, geometry: Geometry) -> Any:
    """A plan of (prompt, parser) pairs, or named by a spec, with what it leaves open filled in; others as they are.

    So records say how a conversation was held.
    """
    if isinstance(plan, tuple):
        return tuple(_fitted_pair(pair, geometry) for pair in plan)
    pairs = _pairs_of_spec(plan)
    fitted = {name: _fitted_pair(pair, geometry) for name, pair in pairs.items()}
    changed = {name: list(pair) for name, pair in fitted.items() if pair != tuple(pairs[name])}
    if not changed:
        return plan
    name, options = read_spec("plan", plan)
    return {"name": name, **options, **changed}


def leaves_open(plan: Any) -> bool:
    """Whether `fitted_spec` could change the plan for some geometry."""
    pairs = plan if isinstance(plan, tuple) else _pairs_of_spec(plan).values()
    return any(_open(*_read(kind, part)) for pair in pairs for kind, part in zip(_KINDS, pair, strict=False))


def _pairs_of_spec(plan: Any) -> dict[str, Any]:
    """The pairs of a registered plan that a spec names, those of its defaults too."""
    name, options = read_spec("plan", plan) if isinstance(plan, str | Mapping) else ("", {})
    known = options_of(registry("plan").get(name)) if name in registry("plan") else {}
    pairs = {pair: options.get(pair, known[pair].default) for pair in PAIRS if pair in known}
    return {name: pair for name, pair in pairs.items() if isinstance(pair, list | tuple)}


def _fitted_pair(pair: Any, geometry: Geometry) -> tuple[Any, ...]:
    if len(pair) != 2:  # building the plan says what is wrong with it
        return tuple(pair)
    return tuple(_fitted(kind, part, geometry) for kind, part in zip(_KINDS, pair, strict=True))


def _fitted(kind: str, part: Any, geometry: Geometry) -> Any:
    """A prompt or parser, a spec or an object, with what it leaves open."""
    known, given = _read(kind, part)
    changes: dict[str, Any] = {}
    for option in _open(known, given):
        value = geometry.coords if option == "coords" else _nearest(known[option].default, geometry.side)
        if value != known[option].default and value != "pixel":  # what is left open means pixel
            changes[option] = value
    if not changes:
        return part
    if isinstance(part, str):
        return format_spec(read_spec(kind, part)[0], {**given, **changes})
    return {**part, **changes} if isinstance(part, Mapping) else functools.partial(part, **changes)


def _read(kind: str, part: Any) -> tuple[Mapping[str, inspect.Parameter], Mapping[str, Any]]:
    """The options that a part has, and those that are given. None are known of a spec that is no registered part's."""
    if isinstance(part, str | Mapping):
        name, given = read_spec(kind, part)
        return (options_of(registry(kind).get(name)) if name in registry(kind) else {}), given
    if isinstance(part, functools.partial):
        return options_of(part.func), part.keywords
    return options_of(part), {}


def _open(known: Mapping[str, inspect.Parameter], given: Mapping[str, Any]) -> list[str]:
    found = ["coords"] if "coords" in known and given.get("coords", known["coords"].default) == "auto" else []
    sized = "size" in known and "size" not in given and type(known["size"].default) is int
    return [*found, "size"] if sized else found


def _nearest(size: int, side: int) -> int:
    return max(side, round(size / side) * side)
