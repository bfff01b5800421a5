"""Dead signals of a run, named with what to look at: the failure signatures that the method is known for."""

from collections.abc import Mapping, Sequence
from typing import Any

WINDOW = 20  # steps that a judgement rests on


def warnings_of(rows: Sequence[Mapping[str, Any]], window: int = WINDOW) -> list[str]:
    """What is wrong with the last rows of a log, one sentence each; [] when nothing is, or too early to say."""
    found = []
    if rows and any(value != value for value in rows[-1].values()):
        bad = sorted(name for name, value in rows[-1].items() if value != value)
        found.append(f"NaN in {', '.join(bad)}: the step was left out; lower lr, or train in float32")
    if len(rows) < window:
        return found
    last = rows[-window:]

    def mean(name: str) -> float | None:
        values = [row[name] for row in last if name in row]
        return sum(values) / len(values) if values else None

    flat, form = mean("flat_groups"), mean("reward/format")
    if flat is not None and flat > 0.9:
        found.append(
            f"no signal: {flat:.0%} of groups have equal rewards; raise temperature or rollouts, look at samples.jsonl"
        )
    if form is not None and form < 0.5:
        found.append(f"format low ({form:.2f}): look at failed/* in the log; the prompt and the parser may disagree")
    task = [name for name in last[-1] if name.startswith("reward/") and name != "reward/format"]
    if form is not None and form > 0.95:
        for name in task:
            values = [row.get(name, 0.0) for row in last]
            if max(values) - min(values) < 1e-3:
                found.append(
                    f"format is saturated ({form:.2f}) while {name} stays at {values[-1]:.3f}: no gradient of it"
                )
    for name, hint in _TASK.items():
        value = mean(name)
        if value is not None and value < 0.1:
            found.append(f"{name.removeprefix('reward/')} low ({value:.2f}): {hint}")
    return found


_TASK = {
    "reward/temporal": "keyframes hide the target or show it tiny; look at the keyframes that are chosen",
    "reward/spatial": "boxes are off target; look at the coordinates' convention (coords=) and at descriptions",
}
