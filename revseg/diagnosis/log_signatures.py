"""The failure signatures of a training log: what `revseg.training.warnings` warns of, over the whole run."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from revseg.diagnosis.signatures import EXAMPLES, Example, Signature
from revseg.untrusted.reading import checked

# What a warning starts with, the name it has here, and the columns of the log that tell.
_KNOWN = (
    (r"NaN or infinity", "not finite", ("grad_norm", "loss")),
    (r"ratio ", "rollouts and training disagree", ("ratio",)),
    (r"no signal", "no signal", ("flat_groups", "reward_std")),
    (r"\S+ of replies are cut off", "replies cut off", ("cut_off", "tokens")),
    (r"format low", "format low", ("reward/format", "failed/")),
    (r"format is saturated", "format high, task reward low", ("reward/",)),
    (r"temporal low", "keyframes hidden or tiny", ("reward/temporal",)),
    (r"spatial low", "boxes off target", ("reward/spatial",)),
)


def find_in_log(rows: Sequence[Mapping[str, Any]], folder: Path) -> list[Signature]:
    """Each signature with the steps that had it, the first, worst (longest running) and last to look at.

    The judgement is that of training at each step, made again, so that logs of other versions are held to the same
    thresholds. `folder` may hold samples.jsonl, whose rollouts at these steps are named.
    """
    from revseg.training.warnings import WINDOW, warnings_of

    steps: dict[str, list[tuple[int, int, str]]] = {}
    for place in range(len(rows)):
        for said in warnings_of(rows[max(0, place + 1 - WINDOW) : place + 1]):
            steps.setdefault(_name(said), []).append((place, int(rows[place].get("step", place)), said))
    rollouts = _samples(folder / "samples.jsonl")
    found = [_signature(name, seen, rows, rollouts) for name, seen in steps.items()]
    rewarded = any(name.startswith("reward") for row in rows for name in row)
    rule = f"no warning in any window of {WINDOW} steps"
    rest = [
        Signature(name, False if rewarded or name == "not finite" else None, rule)
        for _, name, _ in _KNOWN
        if name not in steps
    ]
    return sorted(found, key=lambda s: -len(s.rows)) + rest


def _signature(
    name: str,
    seen: Sequence[tuple[int, int, str]],
    rows: Sequence[Mapping[str, Any]],
    rollouts: Mapping[int, list[Mapping[str, Any]]],
) -> Signature:
    (_, first, begun), (_, last, said) = seen[0], seen[-1]
    lasts = seen[-1][0] == len(rows) - 1
    columns = next((c for _, known, c in _KNOWN if known == name), ())
    evidence: dict[str, Any] = {"steps": len(seen), "of": len(rows), "first": first, "last": last}
    evidence["at the end of the log"] = lasts
    evidence |= {k: v for k, v in rows[seen[-1][0]].items() if isinstance(v, (int, float)) and _told(k, columns)}
    concerned = [step for _, step, _ in seen]
    examples = [Example(first, f"step {first}", begun)]
    if last != first:
        examples.append(Example(last, f"step {last}", said))
    for step in [s for s in concerned if s in rollouts][-1:]:
        for rollout in rollouts[step][: EXAMPLES - len(examples)]:
            told = f"samples.jsonl, step {step}: {rollout.get('query', '')}"[:200]
            why = rollout.get("error") or ", ".join(f"{k} {v:.2f}" for k, v in (rollout.get("rewards") or {}).items())
            examples.append(Example(step, told, str(why)))
    rule = f"as training warns: {_rule(said)}"
    return Signature(name, True, rule, evidence, _look(said), tuple(concerned), tuple(examples))


def _name(said: str) -> str:
    """A warning that is new to this module goes by its first words."""
    return next((name for start, name, _ in _KNOWN if re.match(start, said)), said.split(":")[0].split("(")[0].strip())


def _told(column: str, wanted: Sequence[str]) -> bool:
    return any(column == name or (name.endswith("/") and column.startswith(name)) for name in wanted) or any(
        column.split(":")[0] == name for name in wanted
    )


def _rule(said: str) -> str:
    return re.split(r"[:;]", said)[0]


def _look(said: str) -> str:
    parts = re.split(r"[:;]\s*", said, maxsplit=1)
    return parts[1] if len(parts) > 1 else ""


def _samples(path: Path) -> dict[int, list[Mapping[str, Any]]]:
    from revseg.training.log import json_lines
    from revseg.untrusted.record_types import SampleFields

    found: dict[int, list[Mapping[str, Any]]] = {}
    for number, (_, row) in enumerate(json_lines(path) if path.is_file() else [], 1):
        found.setdefault(row["step"], []).append(checked(row, SampleFields, f"{path}: line {number}"))
    return found
