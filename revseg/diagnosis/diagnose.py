"""`diagnose`: what goes wrong in an evaluation or a training run, with the evidence and where to look."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from revseg.diagnosis.error_attribution import Stages, stages_of
from revseg.diagnosis.log_signatures import find_in_log
from revseg.diagnosis.signatures import EXAMPLES, find_signatures
from revseg.errors import InputError
from revseg.evaluation.results import FORMAT, Results, shards
from revseg.failures import Signature, figure, finite
from revseg.masks.rle import brief
from revseg.untrusted.reading import parse_json


@dataclass(frozen=True)
class Diagnosis:
    """The result of `diagnose`. `signatures` are all that were looked for, `found` those that the file shows."""

    path: Path
    source: str  # "results" or "training log"
    rows: int
    signatures: tuple[Signature, ...]
    kinds: Mapping[str, int]  # of a results file: rows by what went wrong first, "fine" among them

    @property
    def found(self) -> tuple[Signature, ...]:
        return tuple(signature for signature in self.signatures if signature.found)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; NaN and infinities as None."""
        data = asdict(self) | {"path": str(self.path), "kinds": dict(self.kinds)}
        return finite(data | {"found": [signature.kind for signature in self.found]})

    def text(self) -> str:
        """For a terminal: what was found, with evidence; then a line for everything not found or unknown."""
        unit = "row" if self.source == "results" else "step"
        lines = [f"{self.path}: {self.source}, {self.rows} {unit}s"]
        if self.kinds:
            lines.append("what went wrong first: " + ", ".join(f"{kind} {n}" for kind, n in self.kinds.items()))
        if not self.rows:
            return "\n".join([*map(_plain, lines), f"no {unit} yet: nothing to judge"])
        for signature in self.found:
            lines += ["", *_lines(signature, unit)]
        for found, words in ((False, "not found"), (None, "cannot tell (no truth or reward in the file)")):
            rest = [signature for signature in self.signatures if signature.found is found]
            if rest:
                lines += ["", f"{words}:", *(f"  {_short(signature)}" for signature in rest)]
        return "\n".join(map(_plain, lines))


def diagnose(path: str | Path) -> Diagnosis:
    """Diagnose a results file of `evaluate` or a training log (log.jsonl, or the run's folder), finished or not.

    Each signature's `rule` states its threshold. InputError for a file that is neither, and for the masks of another
    method (`import_predictions`), which have no conversations to judge.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "log.jsonl"
    first = _first(path)
    if first is None or first.get("format") == FORMAT:
        results = Results.open(path)
        rows = _stages(results)
        kinds = dict(Counter(row.kind for row in rows).most_common())
        return Diagnosis(path, "results", len(rows), tuple(find_signatures(rows)), kinds)
    if "step" not in first:
        raise InputError(f"{path}: expected a results file of `revseg evaluate` or a training log with a step a line")
    from revseg.training.log import read_log

    log = read_log(path)
    return Diagnosis(path, "training log", len(log), tuple(find_in_log(log, path.parent)), {})


def _stages(results: Results) -> list[Stages]:
    """Each row's stages. InputError when there are rows, and none of them has a conversation or crashed."""
    rows, judged = [], False
    for row in results:
        rows.append(stages_of(row))
        judged |= row.crashed or row.data.get("rounds") is not None
    if rows and not judged:
        raise InputError(
            f"{results.path}: expected conversations, got masks alone, which can be scored, compared and reported"
        )
    return rows


def _first(path: Path) -> dict[str, Any] | None:
    """The first line; None when only shards of a results file are there."""
    if not path.is_file():
        if shards(path):
            return None
        raise InputError(f"{path}: no such file; expected a results file or a run's log.jsonl")
    with path.open("rb") as file:
        line = file.readline()
    data = parse_json(line, str(path), "JSON lines")
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected JSON lines, got {brief(line)}")
    return data


def _lines(signature: Signature, unit: str) -> list[str]:
    lines = [signature.kind.upper(), f"  rule: {signature.rule}", f"  seen: {signature.figures}"]
    lines += [f"  look: {signature.advice}"] if signature.advice else []
    if signature.rows:
        shown = ", ".join(str(row) for row in signature.rows[: 2 * EXAMPLES])
        more = f" and {len(signature.rows) - 2 * EXAMPLES} more" if len(signature.rows) > 2 * EXAMPLES else ""
        lines.append(f"  {unit}s: {shown}{more}")
    lines += [f"    {unit} {e.index}: {e.why} ({e.about})" for e in signature.examples]
    return lines


def _short(signature: Signature) -> str:
    figures = ", ".join(f"{name} {figure(value)}" for name, value in signature.evidence.items() if value is not None)
    return signature.kind + (f": {figures}" if figures else "")


def _plain(text: str) -> str:
    """Without control characters, which a query could use to write over a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)
