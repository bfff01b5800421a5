"""The failure signatures of a training log: the rules of `revseg.training.warnings`, applied to the whole run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from revseg.diagnosis.signatures import EXAMPLES
from revseg.failures import Example, Signature
from revseg.training.log import json_lines
from revseg.training.warnings import RULES, WINDOW, Rule, warnings_of
from revseg.untrusted.reading import checked

Rows = Sequence[Mapping[str, Any]]
Samples = Mapping[int, list[Mapping[str, Any]]]


def find_in_log(rows: Rows, folder: Path) -> list[Signature]:
    """Every signature of `RULES`; those found come first, the one with the most steps ahead.

    Every step is judged anew, so that logs of all versions are compared with the same thresholds. `folder` may hold
    samples.jsonl; rollouts that it has of the steps concerned are examples.
    """
    seen: dict[str, list[tuple[int, Signature]]] = {}
    for place in range(len(rows)):
        for warning in warnings_of(rows[max(0, place + 1 - WINDOW) : place + 1]):
            seen.setdefault(warning.kind, []).append((place, warning))
    samples = _samples(folder / "samples.jsonl")
    found = [_signature(rule, seen[rule.kind], rows, samples) for rule in RULES if rule.kind in seen]
    rewarded = any(name.startswith("reward") for row in rows for name in row)
    rest = [
        Signature(rule.kind, False if rewarded or rule.kind == "not finite" else None, _over_steps(rule))
        for rule in RULES
        if rule.kind not in seen
    ]
    return sorted(found, key=lambda signature: -len(signature.rows)) + rest


def _signature(rule: Rule, seen: Sequence[tuple[int, Signature]], rows: Rows, samples: Samples) -> Signature:
    steps = [warning.rows[-1] for _, warning in seen]
    place = seen[-1][0]
    evidence: dict[str, Any] = {"steps": len(seen), "of": len(rows), "first": steps[0], "last": steps[-1]}
    evidence["at the end of the log"] = place == len(rows) - 1
    evidence |= {k: v for k, v in rows[place].items() if isinstance(v, (int, float)) and _shows(k, rule)}
    ends = [seen[0], seen[-1]] if len(seen) > 1 else seen
    examples = [Example(warning.rows[-1], f"step {warning.rows[-1]}", warning.figures) for _, warning in ends]
    written = [step for step in steps if step in samples]
    if written:
        examples += _rollouts(written[-1], samples[written[-1]])[: EXAMPLES - len(examples)]
    return Signature(rule.kind, True, _over_steps(rule), evidence, rule.advice, tuple(steps), tuple(examples))


def _over_steps(rule: Rule) -> str:
    return rule.rule + (f", mean over {rule.steps} steps" if rule.steps > 1 else "")


def _shows(column: str, rule: Rule) -> bool:
    plain = column.split(":")[0]
    return any(column.startswith(name) if name.endswith("/") else plain == name for name in rule.columns)


def _rollouts(step: int, samples: Sequence[Mapping[str, Any]]) -> list[Example]:
    """Rollouts that training wrote at that step, each with its error or its rewards."""
    found = []
    for rollout in samples:
        rewards = ", ".join(f"{name} {value:.2f}" for name, value in (rollout.get("rewards") or {}).items())
        about = f"samples.jsonl, step {step}: {rollout.get('query', '')}"[:200]
        found.append(Example(step, about, str(rollout.get("error") or rewards)))
    return found


def _samples(path: Path) -> Samples:
    """The rollouts that were written out, by step."""
    from revseg.untrusted.record_types import SampleFields

    found: dict[int, list[Mapping[str, Any]]] = {}
    for number, (_, row) in enumerate(json_lines(path) if path.is_file() else [], 1):
        found.setdefault(row["step"], []).append(checked(row, SampleFields, f"{path}: line {number}"))
    return found
