"""The result of an ablation: a row per variant, with means, spreads and differences to the first variant."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from revseg import output
from revseg.ablation.run_statistics import Run, bootstrap_draws, difference, mean_of, paired, resample_runs
from revseg.errors import InputError
from revseg.evaluation.scores.bootstrap import why_none
from revseg.evaluation.scores.compare import Difference, ends
from revseg.text_table import text_table


@dataclass(frozen=True)
class Cell:
    """One figure of one variant."""

    mean: float  # over seeds
    spread: float | None  # standard deviation over seeds; None for one seed
    low: float | None  # 95 % bootstrap interval over seeds and whole videos; None with too few videos
    high: float | None
    seeds: Mapping[int, float]


@dataclass(frozen=True, eq=False)
class Table:
    """A scored ablation. Figures are in [0, 1], except "reward", which is a weighted sum.

    The others are compared with the first variant, query by query where both have the same questions about the same
    scenes. With two or three seeds the spread is a rough estimate, and a difference of that size is no finding.
    """

    runs: tuple[Run, ...]
    notes: tuple[str, ...] = ()
    draws: int = 2000

    def __repr__(self) -> str:
        return f"Table({len(self.variants)} variants, {len(self.runs)} runs)"

    @property
    def variants(self) -> tuple[str, ...]:
        """Their names, in the order given."""
        return tuple(self._by_variant)

    @property
    def figures(self) -> tuple[str, ...]:
        """The names of the figures that every run has."""
        names = dict.fromkeys(name for run in self.runs for name in run.scores.overall)
        return tuple(name for name in names if all(name in run.scores.overall for run in self.runs))

    @property
    def main(self) -> str:
        """The main figure: J&F, or the protocol's first."""
        return "J&F" if "J&F" in self.figures else self.figures[0]

    def cell(self, variant: str, figure: str = "J&F") -> Cell:
        """One figure of one variant. InputError for an unknown variant or figure."""
        runs = self._of(variant, figure)
        values = {run.seed: run.scores.overall[figure] for run in runs}
        spread = float(np.std(list(values.values()), ddof=1)) if len(values) > 1 else None
        rows = bootstrap_draws([run.scores.queries for run in runs], figure, self.draws)
        low, high = ends(resample_runs(rows, 1)) if len(rows) else (None, None)
        return Cell(mean_of(runs, figure), spread, low, high, values)

    def difference(self, variant: str, against: str | None = None, figure: str = "J&F") -> Difference:
        """`variant` minus `against` (default: the first), see `run_statistics.difference`. InputError as in `cell`."""
        against = self.variants[0] if against is None else against
        return difference(self._of(against, figure), self._of(variant, figure), figure, self.draws)

    def paired(self, variant: str, against: str | None = None) -> bool:
        """True when both have the same questions about the same scenes."""
        return paired(self._of(self.variants[0] if against is None else against), self._of(variant))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: for each variant its figures, its differences to the first, its training and its model."""
        return plain(
            {
                "protocol": self.runs[0].scores.protocol,
                "about": self.runs[0].scores.about,
                "queries": len(self.runs[0].scores.queries),
                "compared_with": self.variants[0],
                "notes": self._all_notes,
                "variants": {name: self._record(name) for name in self.variants},
            }
        )

    def to_json(self, path: str | Path | None = None) -> str:
        """`to_dict` as text, also written to `path` if given. OutputError when that fails."""
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"
        if path is not None:
            output.write_text(path, text, overwrite=True)
        return text

    def text(self, figures: Sequence[str] | None = None) -> str:
        """For a terminal: the main figure with its difference to the first variant, then `figures` (all by default).

        Mean ± standard deviation over seeds; 95 % intervals in brackets; p as in `Difference`. Shares are percent.
        """
        head, rows = self._cells(figures)
        return "\n".join([text_table([head, *rows], left=(0, 1, 3)), *(f"note: {note}" for note in self._all_notes)])

    def to_markdown(self, figures: Sequence[str] | None = None) -> str:
        """The same as `text`, as a Markdown table and a list of notes."""
        head, rows = self._cells(figures)
        lines = [head, ["---"] * len(head), *([_escaped(row[0]), *row[1:]] for row in rows)]
        text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return "\n".join([text, "", *(f"- {note}" for note in self._all_notes)]).rstrip() + "\n"

    def plot(self, path: str | Path, figure: str | None = None) -> Path:
        """Each variant's mean with its 95 % interval, single seeds as dots; PNG or SVG by `path`.

        MissingExtraError without matplotlib; OutputError when `path` cannot be written.
        """
        from revseg.ablation.plot import plot

        return plot(self, path, self.main if figure is None else figure)

    @cached_property
    def _by_variant(self) -> dict[str, list[Run]]:
        names = dict.fromkeys(run.variant for run in self.runs)
        return {name: [run for run in self.runs if run.variant == name] for name in names}

    @property
    def _all_notes(self) -> list[str]:
        """The notes, and for which variants there are too few videos for an interval and p."""
        few: dict[str, dict[str, None]] = {}
        for run in self.runs:
            scored = [q for q in run.scores.queries if q.stratum is not None and self.main in q.values]
            few.setdefault(why_none(len({query.video for query in scored})), {})[run.variant] = None
        return [*self.notes, *(f"no interval and no p for {', '.join(few[why])}: {why}" for why in few if why)]

    def _of(self, variant: str, figure: str | None = None) -> list[Run]:
        if variant not in self._by_variant:
            raise InputError(f"no variant {variant!r}; there are {', '.join(self.variants)}")
        if figure is not None and figure not in self.figures:
            raise InputError(f"no figure {figure!r}; there are {', '.join(self.figures)}")
        return self._by_variant[variant]

    def _cells(self, figures: Sequence[str] | None) -> tuple[list[str], list[list[str]]]:
        """Head and rows of the printed table."""
        more = [f for f in self.figures if f not in (self.main, "J", "F")] if figures is None else list(figures)
        more = [figure for figure in more if figure != self.main]
        rows = []
        for name in self.variants:
            seeds = ", ".join(str(run.seed) for run in self._of(name))
            main, *others = (_cell(figure, self.cell(name, figure)) for figure in (self.main, *more))
            rows.append([name, seeds, main, *self._difference_cells(name), *others])
        return ["variant", "seeds", self.main, f"Δ {self.main}", "p", *more], rows

    def _difference_cells(self, name: str) -> list[str]:
        if name == self.variants[0]:
            return ["", ""]
        d = self.difference(name, figure=self.main)
        mark = "" if self.paired(name) else " (not paired)"
        return [f"{d.text(1)}{mark}", d.p_text()]

    def _record(self, name: str) -> dict[str, Any]:
        runs, first = self._of(name), self.variants[0]
        differences = {f: self.difference(name, figure=f) for f in self.figures} if name != first else {}
        return {
            "paired": self.paired(name),
            "dataset": runs[0].header["dataset"],
            "figures": {f: asdict(self.cell(name, f)) for f in self.figures},
            "differences": {f: {"difference": d.difference, **vars(d)} for f, d in differences.items()},
            "groups": _group_means(runs),
            "seconds_per_query": float(np.mean([run.seconds for run in runs])),
            "crashed": sum(run.crashed for run in runs),
            "training": {str(run.seed): dict(run.train) for run in runs if run.train},
            "spec": runs[0].header["spec"],
        }


def _group_means(runs: Sequence[Run]) -> dict[str, dict[str, float]]:
    """Per type of question, the means over runs."""
    means: dict[str, dict[str, float]] = {}
    for group, values in runs[0].scores.groups.items():
        every = [run.scores.groups.get(group, {}) for run in runs]
        means[group] = {name: float(np.mean([v[name] for v in every if name in v])) for name in values}
    return means


def _cell(figure: str, cell: Cell) -> str:
    scale, digits = (1, 3) if figure == "reward" else (100, 1)
    spread = "" if cell.spread is None else f" ± {scale * cell.spread:.{digits}f}"
    return f"{scale * cell.mean:.{digits}f}{spread}"


def _escaped(name: str) -> str:
    return name.replace("|", "\\|").replace("\n", " ")


def plain(value: Any) -> Any:
    """The value with what JSON cannot hold replaced: None for NaN and infinities, keys as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
