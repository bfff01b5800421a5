"""Warnings of a training run: the failure signatures of its last steps.

Each rule looks at the last rows of the log and gives the figures that meet its threshold, or none. `revseg diagnose`
applies the same rules to a whole log.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from revseg.failures import Kind, Signature

WINDOW = 20  # steps that a mean is taken over; no rule but those of one step applies before
FLAT, CUT_OFF, FORMAT_LOW, FORMAT_HIGH, TASK_LOW, DEAD = 0.9, 0.5, 0.5, 0.95, 0.3, 0.1
GAIN = 0.01  # of a reward from the first to the second half of the window: less is no progress
RATIO = 0.05

Rows = Sequence[Mapping[str, Any]]
Figures = Mapping[str, Any]


@dataclass(frozen=True)
class Rule:
    """How a kind of failure shows in a log. `columns` show it; one that ends in "/" stands for all that begin so."""

    kind: Kind
    rule: str
    advice: str
    columns: tuple[str, ...]
    judge: Callable[[Rows], Figures]  # the figures that meet the threshold; empty: it is not met
    steps: int = WINDOW


def warnings_of(rows: Rows) -> list[Signature]:
    """What is wrong at the end of a log, by the rules below; [] when nothing is, or when it is too early to say."""
    found = []
    for rule in RULES:
        last = rows[-rule.steps :]
        evidence = rule.judge(last) if len(last) == rule.steps else {}
        if evidence:
            steps = tuple(int(row.get("step", place)) for place, row in enumerate(last))
            found.append(Signature(rule.kind, True, rule.rule, evidence, rule.advice, steps))
    return found


def rewards_in(row: Mapping[str, Any], name: str) -> list[str]:
    """The columns of a reward under any options, such as reward/temporal:soft=False."""
    return [column for column in row if column.split(":")[0] == f"reward/{name}"]


def _not_finite(rows: Rows) -> Figures:
    bad = [name for name, value in rows[-1].items() if isinstance(value, float) and not math.isfinite(value)]
    return {"columns": " ".join(sorted(bad))} if bad else {}


def _disagreement(rows: Rows) -> Figures:
    ratio = rows[-1].get("ratio", 1.0)
    return {"ratio": ratio} if abs(ratio - 1) > RATIO else {}


def _no_signal(rows: Rows) -> Figures:
    flat = _mean(rows, ["flat_groups"])
    return {"flat_groups": flat} if flat > FLAT else {}


def _cut_off(rows: Rows) -> Figures:
    share = _mean(rows, ["cut_off"])
    return {"cut_off": share} if share > CUT_OFF else {}


def _format_low(rows: Rows) -> Figures:
    form = _mean(rows, rewards_in(rows[-1], "format"))
    return {"format": form} if form < FORMAT_LOW else {}


def _format_alone(rows: Rows) -> Figures:
    formats = rewards_in(rows[-1], "format")
    if not _mean(rows, formats) > FORMAT_HIGH:
        return {}
    half, low = len(rows) // 2, {}
    for name in [n for n in rows[-1] if n.startswith("reward/") and n not in formats]:
        mean, gain = _mean(rows, [name]), _mean(rows[half:], [name]) - _mean(rows[:half], [name])
        if mean < TASK_LOW and gain < GAIN:
            low[name.removeprefix("reward/")] = mean
    return {"format": _mean(rows, formats), **low} if low else {}


def _dead(name: str) -> Callable[[Rows], Figures]:
    def judge(rows: Rows) -> Figures:
        value = _mean(rows, rewards_in(rows[-1], name))
        return {name: value} if value < DEAD else {}

    return judge


def _mean(rows: Rows, names: Sequence[str]) -> float:
    """NaN, which is neither low nor high, when no row has it."""
    values = [row[name] for row in rows for name in names if name in row]
    return sum(values) / len(values) if values else math.nan


RULES = (
    Rule(
        "not finite",
        "NaN or infinity in a column of the log",
        "a step whose gradient is not finite is left out; lower lr, or train without bf16",
        ("grad_norm", "loss"),
        _not_finite,
        steps=1,
    ),
    Rule(
        "rollouts and training disagree",
        f"the ratio of a step's first update differs from 1 by more than {RATIO}",
        "tokens are scored otherwise than they were drawn; look at dtype and dropout of the model",
        ("ratio",),
        _disagreement,
        steps=1,
    ),
    Rule(
        "no signal",
        f"more than {FLAT:.0%} of groups have equal rewards",
        "raise temperature or group_size; look at samples.jsonl",
        ("flat_groups", "reward_std"),
        _no_signal,
    ),
    Rule(
        "replies cut off",
        f"more than {CUT_OFF:.0%} of conversations have a reply that ended at the token limit",
        "raise max_new_tokens; look at samples.jsonl",
        ("cut_off", "tokens"),
        _cut_off,
    ),
    Rule(
        "format low",
        f"mean format reward below {FORMAT_LOW}",
        "look at failed/* in the log; the prompt and the parser may disagree",
        ("reward/format", "failed/"),
        _format_low,
    ),
    Rule(
        "format high, task reward low",
        f"mean format reward above {FORMAT_HIGH} while another reward's mean is below {TASK_LOW} and does not rise",
        "replies are well formed and wrong; look at samples.jsonl, and give the task reward more weight",
        ("reward/",),
        _format_alone,
    ),
    Rule(
        "keyframes hidden or tiny",
        f"mean temporal reward below {DEAD}",
        "keyframes hide the target or show it tiny; look at the keyframes in samples.jsonl",
        ("reward/temporal",),
        _dead("temporal"),
    ),
    Rule(
        "boxes off target",
        f"mean spatial reward below {DEAD}",
        "boxes miss the target; look at the parser's coords= and at the descriptions",
        ("reward/spatial",),
        _dead("spatial"),
    ),
)
