"""The options of the synthetic world: what is allowed, and the shares of the kinds of question."""

from collections.abc import Mapping, Sequence

from revseg.errors import InputError
from revseg.shapes.queries import KINDS, NEEDS_TIME, NEEDS_TWO
from revseg.shapes.scene import World
from revseg.shapes.wording import WORDINGS

SPLITS = ("train", "validation", "test")
CHOICES: dict[str, tuple[str, ...]] = {
    "split": SPLITS,
    "colours": ("seen", "unseen"),
    "forms": ("seen", "unseen"),
    "wording": tuple(WORDINGS),
    "background": ("plain", "texture"),
    "kind": KINDS,
}
RANGES: dict[str, tuple[float, float]] = {
    "size": (0, float("inf")),
    "frames": (1, float("inf")),
    "height": (16, float("inf")),
    "width": (16, float("inf")),
    "speed": (0.1, 10),
    "scale": (0.1, 2),
    "brief": (0, 1),
    "noise": (0, 1),
    "compression": (1, 100),
}
MIX = {
    "attribute": 0.16,
    "motion": 0.2,
    "time": 0.16,
    "relation": 0.16,
    "comparison": 0.16,
    "absent": 0.08,
    "several": 0.08,
}


def check_options(**values: object) -> None:
    """InputError for a value that is not among the choices or outside the range of its option."""
    for name, value in values.items():
        if name in CHOICES:
            if value not in CHOICES[name]:
                raise InputError(f"unknown {name}: {value!r}; expected one of {', '.join(CHOICES[name])}")
            continue
        low, high = RANGES[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise InputError(f"expected {name} from {low} to {high}, got {value!r}")


def kind_shares(kinds: Sequence[str] | None, mix: Mapping[str, float] | None, world: World) -> dict[str, float]:
    """The share of each kind of question, summing to one. Kinds that the world does not allow are left out.

    InputError for such a kind if it was named.
    """
    needs = {kind: "frames=8 or more" for kind in NEEDS_TIME if world.frames < 8}
    needs |= {kind: "two objects or more" for kind in NEEDS_TWO if world.objects[1] < 2}
    if mix is None:
        mix = {kind: MIX[kind] for kind in MIX if kind not in needs and (kinds is None or kind in kinds)}
    for kind in [*mix, *(kinds or ())]:
        check_options(kind=kind)
        if kind in needs:
            raise InputError(f"questions of kind {kind!r} need {needs[kind]}, got {world}")
    total = sum(mix.values())
    if not total > 0 or min(mix.values()) < 0:
        raise InputError(f"expected shares of kinds that sum to more than 0, got {dict(mix)!r}")
    return {kind: share / total for kind, share in mix.items()}
