"""Failure signatures: what a training run warns of, `revseg diagnose` names and the site of a run shows."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal[
    "crashes",
    "not finite",
    "rollouts and training disagree",
    "no signal",
    "format low",
    "replies cut off",
    "absence misjudged",
    "keyframes hidden or tiny",
    "boxes off target",
    "format high, task reward low",
    "tracker loses the object",
]


@dataclass(frozen=True)
class Example:
    """A row of a results file, or a step of a log, that is worth a look, and why."""

    index: int
    about: str
    why: str


@dataclass(frozen=True)
class Signature:
    """One way of failing, with the figures that show it.

    `found` is None when the file cannot tell (no truth, no such reward). `rule` states the threshold, `evidence` the
    figures that were compared with it, `advice` what to do next. `rows` are all rows (or steps) concerned, worst first;
    `examples` the first of them with their reasons.
    """

    kind: Kind
    found: bool | None
    rule: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    advice: str = ""
    rows: tuple[int, ...] = ()
    examples: tuple[Example, ...] = ()

    @property
    def figures(self) -> str:
        """The evidence as text: "replies 6, mean format 0.67, not readable 2"."""
        return ", ".join(f"{name} {figure(value)}" for name, value in self.evidence.items())

    def __str__(self) -> str:
        """For a terminal: "no signal (flat_groups 0.95): raise temperature or group_size"."""
        return f"{self.kind} ({self.figures}): {self.advice}"


def figure(value: Any) -> str:
    """A figure for people: two decimals of a fraction, "-" for what is not known."""
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def finite(value: Any) -> Any:
    """Plain data as JSON can hold it: NaN and infinities become None, in mappings and lists too."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
