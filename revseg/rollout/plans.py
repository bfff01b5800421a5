"""Plans: the next round, given the conversation so far. A plan ends a conversation by giving None.

A *pair* is a (prompt, parser), as specs or parts. If a checkpoint was trained with its own pairs, the pipeline passes
them to every plan that has an option of that name (`keyframe`, `box`, `both`, `verify`, `again`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from revseg.errors import InputError
from revseg.registry import build, options_of, read_spec, register, registry
from revseg.types import Rollout, Round

Pair = Sequence[Any]

KEYFRAME: Pair = ("keyframe", "keyframe_json")
BOX: Pair = ("box", "box_json")
BOTH: Pair = ("keyframe_and_box", "keyframe_and_box_json")
VERIFY: Pair = ("verify", "verdict")
AGAIN: Pair = ("again", "keyframe_json")


PAIRS = ("keyframe", "box", "both", "verify", "again")


def left_to_taught(plan: Any) -> list[str]:
    """Pairs that the plan of a spec has and the spec leaves open: the pipeline fills in those of the checkpoint."""
    if not isinstance(plan, str | Mapping):
        return []
    name, options = read_spec("plan", plan)
    known = () if ":" in name else options_of(registry("plan").get(name))
    return [pair for pair in PAIRS if pair in known and pair not in options]


def with_taught(plan: str | Mapping[str, Any], taught: Any) -> dict[str, Any]:
    """A plan's spec, completed with the pairs of the plan (pairs or a spec) that the policy was trained with."""
    name, options = read_spec("plan", plan)
    if isinstance(taught, list | tuple):
        pairs: dict[str, Any] = {"both": taught[0]} if len(taught) == 1 else {"keyframe": taught[0], "box": taught[1]}
    else:
        pairs = read_spec("plan", taught)[1]
    return {"name": name, **options, **{pair: list(pairs[pair]) for pair in left_to_taught(plan) if pair in pairs}}


def make_round(name: str, pair: Pair, then: int = 0) -> Round:
    """A round with its two parts built. InputError for anything but a (prompt, parser) pair."""
    if isinstance(pair, str) or len(pair) != 2:
        raise InputError(f"expected a (prompt, parser) pair for the {name} round, got {pair!r}")
    return Round(name, build("prompt", pair[0]), build("parser", pair[1]), then=then)


def stopped(rollout: Rollout) -> bool:
    """True when the last reply could not be parsed, or says that the target is not in the video."""
    return bool(rollout.turns) and (rollout.turns[-1].answer.error is not None or rollout.turns[-1].denies)


class InOrder:
    """A fixed sequence of rounds, as a list of pairs describes it."""

    def __init__(self, pairs: Sequence[Pair], names: Sequence[str] = ()) -> None:
        if not pairs:
            raise InputError("expected at least one round, a pair (prompt, parser); got none")
        named = [*names, *(f"round {n}" for n in range(len(names) + 1, len(pairs) + 1))]
        last = len(pairs) - 1
        self.rounds = [make_round(name, p, last - i) for i, (name, p) in enumerate(zip(named, pairs, strict=False))]

    def __call__(self, rollout: Rollout, /) -> Round | None:
        number = len(rollout.turns)
        return None if stopped(rollout) or number >= len(self.rounds) else self.rounds[number]


@register("plan", "two_rounds")
class TwoRounds(InOrder):
    """The paper's two rounds: the video, for a keyframe and a description; then that keyframe, for the box."""

    def __init__(self, *, keyframe: Pair = KEYFRAME, box: Pair = BOX) -> None:
        super().__init__([keyframe, box], ["keyframe", "box"])


@register("plan", "one_round")
class OneRound(InOrder):
    """One round that asks for keyframe, description and box at once: the paper's ablation of its two rounds."""

    def __init__(self, *, both: Pair = BOTH) -> None:
        super().__init__([both], ["both"])


@register("plan", "per_object")
class PerObject:
    """One keyframe round, then one box round per target, so that boxes cannot be assigned to the wrong target."""

    def __init__(self, *, keyframe: Pair = KEYFRAME, box: Pair = BOX) -> None:
        self.keyframe, self.box = make_round("keyframe", keyframe, 1), make_round("box", box)

    def __call__(self, rollout: Rollout, /) -> Round | None:
        if not rollout.turns:
            return self.keyframe
        number, targets = len(rollout.turns) - 1, len(rollout.turns[0].answer.targets)
        if stopped(rollout) or number >= targets:
            return None
        return replace(self.box, about=(number,), then=targets - number - 1)


@register("plan", "verified")
class Verified:
    """The paper's two rounds, then one that shows the box drawn on the keyframe and asks: right, wrong, or absent?

    After "no" the policy chooses again. There are at most `tries` checks; the answer at the last one is kept.
    """

    def __init__(
        self, *, keyframe: Pair = KEYFRAME, box: Pair = BOX, verify: Pair = VERIFY, again: Pair = AGAIN, tries: int = 2
    ) -> None:
        if tries < 1:
            raise InputError(f"expected tries of 1 or more, got {tries}")
        self.first, self.again = make_round("keyframe", keyframe, 2), make_round("again", again, 2)
        self.box, self.verify, self.tries = make_round("box", box, 1), make_round("verify", verify), tries

    def __call__(self, rollout: Rollout, /) -> Round | None:
        if not rollout.turns:
            return self.first
        if stopped(rollout):
            return None
        last, checked = rollout.turns[-1], sum(turn.round == "verify" for turn in rollout.turns)
        if last.round == "verify":
            return None if last.answer.verdict or checked >= self.tries else self.again
        return self.verify if last.round == "box" else self.box
