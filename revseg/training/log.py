"""A run's log: one JSON row per step, some rollouts as text, and the trackers that accelerate knows."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revseg.errors import InputError, MissingExtraError, OutputError
from revseg.failures import Signature, finite
from revseg.masks.rle import brief
from revseg.output import write_text
from revseg.training.rollouts import Judged
from revseg.training.warnings import RULES, warnings_of
from revseg.untrusted.reading import checked, parse_json

if TYPE_CHECKING:
    from revseg.untrusted.record_types import WarningFields

RECENT = 50  # rows kept in memory for the warnings


class Log:
    """Writes `log.jsonl` and `samples.jsonl` in a run's folder; removes rows of a stopped try, from step `start` on."""

    def __init__(self, folder: Path, accelerator: Any, start: int) -> None:
        self.folder, self.accelerator = folder, accelerator
        self.recent: list[dict[str, Any]] = []
        if accelerator.is_main_process:
            cut_rows(folder / "samples.jsonl", start)
            self.recent = cut_rows(folder / "log.jsonl", start)
        accelerator.init_trackers("revseg")

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *error: object) -> None:
        for tracker in self.accelerator.trackers:  # not end_training(): it takes the process group down as well
            tracker.finish()

    def add(self, row: Mapping[str, Any], judged: Judged | None) -> dict[str, Any]:
        """Write a step's row and, when given, some of its rollouts. Returns the row, with means over all processes.

        The row has "warnings", a list of `Signature`, when something is wrong; see `revseg.training.warnings`.
        """
        from accelerate.utils import gather_object

        whole = means(gather_object([dict(row)]))
        self.recent = [*self.recent, whole][-RECENT:]
        self.accelerator.log({k: v for k, v in whole.items() if k != "step"}, step=int(row["step"]))
        found = warnings_of(self.recent)
        written = {"warnings": [_plain(warning) for warning in found]} if found else {}
        whole = {**whole, "warnings": found} if found else whole
        if self.accelerator.is_main_process:
            append_rows(self.folder / "log.jsonl", [{**whole, **written}])
            if judged is not None:
                append_rows(self.folder / "samples.jsonl", readable(judged, int(row["step"])))
        return whole


def means(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The means of several processes' rows. A column that a process lacks (a kind of failure) counts as 0 there.

    All processes have equally many rollouts but not equally many tokens, so the entropy, a mean over tokens, is
    weighted by them.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    whole = {name: sum(float(row.get(name, 0.0)) for row in rows) / len(rows) for name in names}
    if whole.get("tokens") and "entropy" in whole:
        whole["entropy"] = sum(row["entropy"] * row["tokens"] for row in rows) / sum(row["tokens"] for row in rows)
    return {**whole, "step": rows[0]["step"]}


def check_tracker(name: str | None) -> None:
    """MissingExtraError for a tracker whose package is missing: accelerate would silently skip it."""
    from accelerate.tracking import get_available_trackers

    if name is not None and name not in [str(known) for known in get_available_trackers()]:
        raise MissingExtraError(f"log_with={name!r} needs a package that is not installed: pip install {name}")


def read_log(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a `log.jsonl`, without a last line that is incomplete because the run was stopped; null reads as NaN.

    A row has "step", numbers, and perhaps "warnings", which are read as `Signature`; those of earlier versions, which
    were sentences, are left out. InputError, naming the line, for anything else.
    """
    from revseg.untrusted.record_types import LogFields

    rows = []
    for number, (_, row) in enumerate(json_lines(Path(path)), 1):
        where = f"{path}: line {number}"
        written = checked(row, LogFields, where).get("warnings", [])
        for name, value in row.items():
            number_or_null = value is None or isinstance(value, float) or (isinstance(value, int) and abs(value) < 1e15)
            if not number_or_null and name != "warnings":
                raise InputError(f"{where}: {brief(name)}: expected a number or null, got {brief(value)}")
        numbers = {name: math.nan if value is None else value for name, value in row.items() if name != "warnings"}
        warnings = [_signature(one) for one in written if not isinstance(one, str)]
        rows.append({**numbers, "warnings": warnings} if warnings else numbers)
    return rows


def _plain(warning: Signature) -> dict[str, Any]:
    """What `_signature` reads back."""
    rows = list(warning.rows)
    return {"kind": warning.kind, "evidence": finite(warning.evidence), "rows": rows, "advice": warning.advice}


def _signature(written: "WarningFields") -> Signature:
    rule = next((rule.rule for rule in RULES if rule.kind == written["kind"]), "")
    return Signature(written["kind"], True, rule, written["evidence"], written["advice"], tuple(written["rows"]))


def json_lines(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Each line of a run's log or samples as (text, row); an incomplete last line is left out.

    InputError, naming the line, for a missing file or a row without a "step".
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(f"{path}: expected the log of a training run: {error.strerror or error}") from error
    found = []
    for number, line in enumerate(lines, 1):
        where = f"{path}: line {number}"
        try:
            row = parse_json(line, where, "a row of a training run's log")
        except InputError:
            if number == len(lines):  # it was being written
                break
            raise
        step = row.get("step") if isinstance(row, dict) else None
        if type(step) is not int or not 0 <= step < 10**9:
            raise InputError(f"{where}: expected a row of a training run's log with its step, got {brief(row)}")
        found.append((line.decode("utf-8-sig") + "\n", row))
    return found


def readable(judged: Judged, step: int, count: int = 4) -> list[dict[str, Any]]:
    """The first rollouts of a step as text with their rewards."""
    rows = []
    for rollout, rewards in list(zip(judged.rollouts, judged.rewards, strict=True))[:count]:
        rows.append(
            {
                "step": step,
                "query": rollout.query.text,
                "replies": [turn.reply.text for turn in rollout.turns],
                "error": rollout.error,
                "rewards": dict(rewards.values),
                "total": rewards.total,
            }
        )
    return rows


def _line(row: Mapping[str, Any]) -> str:
    """One line of JSON; NaN and infinities become null."""
    return json.dumps({k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}) + "\n"


def append_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append rows as JSON lines and sync them to disk; OutputError when that fails."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.writelines(map(_line, rows))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error}; the run stops, its last checkpoint is whole") from error


def cut_rows(path: Path, start: int) -> list[dict[str, Any]]:
    """Remove what a stopped try wrote after its last checkpoint. Returns the last rows that stay, without warnings."""
    if not path.is_file():
        return []
    text = "".join(line for line, row in json_lines(path) if row["step"] < start)
    try:
        write_text(path, text, overwrite=True)
    except OutputError as error:
        raise OutputError(f"{error}; make room and start again") from error
    if path.name != "log.jsonl":
        return []
    return [{name: value for name, value in row.items() if name != "warnings"} for row in read_log(path)[-RECENT:]]
