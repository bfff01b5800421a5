"""Dead signals of a run, named with what to look at: the failure signatures that the method is known for."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

WINDOW = 20  # steps that a judgement rests on

_LOW = {
    "temporal": "keyframes hide the target or show it tiny; look at the keyframes that are chosen",
    "spatial": "boxes are off target; look at the coordinates' convention (coords=) and at descriptions",
}


def warnings_of(rows: Sequence[Mapping[str, Any]], window: int = WINDOW) -> list[str]:
    """What is wrong with the last rows of a log, one sentence each; [] when nothing is, or too early to say."""
    if not rows:
        return []
    found = _not_finite(rows[-1]) + _disagreement(rows[-1])
    last = rows[-window:]
    return found + _dead(last) + _low(last) if len(last) >= window else found


def _not_finite(row: Mapping[str, Any]) -> list[str]:
    bad = sorted(name for name, value in row.items() if isinstance(value, float) and not math.isfinite(value))
    if "grad_norm" in bad:
        return [f"NaN or infinity in {', '.join(bad)}: the step was left out; lower lr, or train without bf16"]
    return [f"NaN or infinity in {', '.join(bad)}"] if bad else []


def _disagreement(row: Mapping[str, Any]) -> list[str]:
    ratio = row.get("ratio", 1.0)
    if not abs(ratio - 1) > 0.05:
        return []
    return [
        f"ratio {ratio:.3f}: rollouts and training forward disagree on the policy; it should be 1, look at dtype and "
        "at dropout"
    ]


def _dead(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    found = []
    flat = _mean(rows, "flat_groups")
    if flat > 0.9:
        found.append(
            f"no signal: {flat:.0%} of groups have equal rewards; raise temperature or group_size, "
            "look at samples.jsonl"
        )
    cut = _mean(rows, "cut_off")
    if cut > 0.5:
        found.append(f"{cut:.0%} of replies are cut off at the limit; raise max_new_tokens, look at samples.jsonl")
    form = _mean(rows, _names(rows[-1], "format"))
    if form < 0.5:
        found.append(f"format low ({form:.2f}): look at failed/* in the log; the prompt and the parser may disagree")
    if form > 0.95:
        for name in [n for n in rows[-1] if n.startswith("reward/") and n not in _names(rows[-1], "format")]:
            half = len(rows) // 2
            gain = _mean(rows[half:], name) - _mean(rows[:half], name)
            if _mean(rows, name) < 0.3 and gain < 0.01:
                found.append(
                    f"format is saturated ({form:.2f}) while {name.removeprefix('reward/')} stays at "
                    f"{_mean(rows, name):.2f}: replies are well formed and wrong; look at samples.jsonl, weigh it more"
                )
    return found


def _low(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    values = {reward: _mean(rows, _names(rows[-1], reward)) for reward in _LOW}
    return [f"{reward} low ({value:.2f}): {_LOW[reward]}" for reward, value in values.items() if value < 0.1]


def _names(row: Mapping[str, Any], reward: str) -> list[str]:
    """The columns of a reward under any options, such as reward/temporal:soft=False."""
    return [name for name in row if name.split(":")[0] == f"reward/{reward}"]


def _mean(rows: Sequence[Mapping[str, Any]], names: str | list[str]) -> float:
    """NaN, which is neither low nor high, when no row has it."""
    names = [names] if isinstance(names, str) else names
    values = [row[name] for row in rows for name in names if name in row]
    return sum(values) / len(values) if values else math.nan
