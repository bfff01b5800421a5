"""Options of the synthetic world that need judging before use."""

from collections.abc import Mapping, Sequence

from revseg.errors import InputError
from revseg.shapes.queries import KINDS, NEEDS_TIME, NEEDS_TWO
from revseg.shapes.scene import World

MIX = {
    "attribute": 0.16,
    "motion": 0.2,
    "time": 0.16,
    "relation": 0.16,
    "comparison": 0.16,
    "absent": 0.08,
    "several": 0.08,
}


def shares(kinds: Sequence[str] | None, mix: Mapping[str, float] | None, world: World) -> dict[str, float]:
    """The share of each kind, summing to one; kinds that such a world cannot have are left out unless named."""
    refused = {kind: "frames=8 or more" for kind in NEEDS_TIME if world.frames < 8}
    refused |= {kind: "two objects or more" for kind in NEEDS_TWO if world.objects[1] < 2}
    if mix is None:
        mix = {kind: MIX[kind] for kind in MIX if kind not in refused and (kinds is None or kind in kinds)}
    for kind in [*mix, *(kinds or ())]:
        one_of("kind", kind, KINDS)
        if kind in refused:
            raise InputError(f"questions of kind {kind!r} need {refused[kind]}, got {world}")
    total = sum(mix.values())
    if not total > 0 or min(mix.values()) < 0:
        raise InputError(f"expected shares of kinds that sum to more than 0, got {dict(mix)!r}")
    return {kind: share / total for kind, share in mix.items()}


def one_of(what: str, value: str, known: Sequence[str]) -> None:
    """Raises InputError, naming what is known, for anything else."""
    if value not in known:
        raise InputError(f"unknown {what}: {value!r}; expected one of {', '.join(known)}")


def between(what: str, value: float, low: float, high: float) -> None:
    """Raises InputError for what is no number, or outside [low, high]."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InputError(f"expected {what} from {low} to {high}, got {value!r}")
