"""A run's log: one JSON row a step, rollouts one can read, and the trackers that accelerate knows."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from revseg.errors import OutputError
from revseg.training.rollouts import Judged

RECENT = 50  # rows kept at hand, for the warnings


class Log:
    """Writes `log.jsonl` and `samples.jsonl` in a run's folder; rows at and after `start` are of an earlier try."""

    def __init__(self, folder: Path, accelerator: Any, start: int) -> None:
        self.folder, self.accelerator = folder, accelerator
        self.recent: list[dict[str, Any]] = []
        if accelerator.is_main_process:
            _cut(folder / "samples.jsonl", start)
            self.recent = _cut(folder / "log.jsonl", start)
        accelerator.init_trackers("revseg")

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *error: object) -> None:
        self.accelerator.end_training()

    def add(self, row: Mapping[str, Any], judged: Judged | None) -> dict[str, Any]:
        """Write a step's row (its means over all processes) and, when given, some of its rollouts; the row."""
        import torch

        device = self.accelerator.device
        shared = [name for name in sorted(row) if not name.startswith(("failed/", "seconds/")) and name != "step"]
        values = torch.tensor([float(row[name]) for name in shared], dtype=torch.float64, device=device)
        means = self.accelerator.reduce(values, "mean").tolist()
        whole = {**row, **dict(zip(shared, means, strict=True))}
        self.recent = [*self.recent, whole][-RECENT:]
        if self.accelerator.is_main_process:
            _append(self.folder / "log.jsonl", [whole])
            if judged is not None:
                _append(self.folder / "samples.jsonl", readable(judged, int(row["step"])))
        self.accelerator.log({k: v for k, v in whole.items() if k != "step"}, step=int(row["step"]))
        return whole


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


def _append(path: Path, rows: list[dict[str, Any]]) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error}; the run stops, its last checkpoint is whole") from error


def _cut(path: Path, start: int) -> list[dict[str, Any]]:
    """Drop what a stopped try wrote after its last checkpoint; the rows that stay."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text("utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            break  # the line that was being written when the run was stopped
        if row["step"] < start:
            rows.append(row)
    partial = path.with_name(path.name + ".partial")
    partial.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    partial.replace(path)
    return rows[-RECENT:]
