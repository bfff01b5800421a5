"""What an ablation gives: a row per variant, with means, spreads and differences to the first."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from revseg import output
from revseg.ablation.run_statistics import Run, difference, drawn, mean_of, over_runs, paired
from revseg.errors import InputError, MissingExtraError, OutputError
from revseg.evaluation.scores.bootstrap import why_none
from revseg.evaluation.scores.compare import Difference, ends


@dataclass(frozen=True)
class Cell:
    """One figure of one variant: the mean over seeds, the standard deviation over them (None for one seed), and the
    bounds of a 95 % interval, seeds and whole videos drawn with replacement (None with too few videos)."""

    mean: float
    spread: float | None
    low: float | None
    high: float | None
    seeds: Mapping[int, float]


@dataclass(frozen=True, eq=False)
class Table:
    """An ablation, scored. Figures are in [0, 1] ("reward", a weighted sum, apart); in print, shares are percent.

    The first variant is what the others are compared with, query by query where both were asked the same questions
    about the same scenes. Two or three seeds give a rough spread: it says nothing of a difference of its own size.
    """

    runs: tuple[Run, ...]
    notes: tuple[str, ...] = ()
    draws: int = 2000

    def __repr__(self) -> str:
        return f"Table({len(self.variants)} variants, {len(self.runs)} runs)"

    @property
    def variants(self) -> tuple[str, ...]:
        """Names, in the order that they were given."""
        return tuple(self._by_variant)

    @property
    def figures(self) -> tuple[str, ...]:
        """What every run has."""
        names = dict.fromkeys(name for run in self.runs for name in run.scores.overall)
        return tuple(name for name in names if all(name in run.scores.overall for run in self.runs))

    @property
    def main(self) -> str:
        """J&F, or the protocol's first figure."""
        return "J&F" if "J&F" in self.figures else self.figures[0]

    def cell(self, variant: str, figure: str = "J&F") -> Cell:
        """One figure of one variant. InputError for a variant or a figure that there is not."""
        runs = self._of(variant, figure)
        values = {run.seed: run.scores.overall[figure] for run in runs}
        spread = float(np.std(list(values.values()), ddof=1)) if len(values) > 1 else None
        rows = drawn([run.scores.queries for run in runs], figure, self.draws)
        low, high = ends(over_runs(rows, 1)) if len(rows) else (None, None)
        return Cell(mean_of(runs, figure), spread, low, high, values)

    def difference(self, variant: str, against: str | None = None, figure: str = "J&F") -> Difference:
        """`variant` minus `against` (the first): see `seeds.difference`. InputError as for `cell`."""
        against = self.variants[0] if against is None else against
        return difference(self._of(against, figure), self._of(variant, figure), figure, self.draws)

    def paired(self, variant: str, against: str | None = None) -> bool:
        """True when both were asked the same questions about the same scenes."""
        return paired(self._of(self.variants[0] if against is None else against), self._of(variant))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: for each variant its figures, its differences to the first, its training and its model."""
        return plain(
            {
                "protocol": self.runs[0].scores.protocol,
                "about": self.runs[0].scores.about,
                "queries": len(self.runs[0].scores.queries),
                "compared_with": self.variants[0],
                "notes": [*self.notes, *self._doubts],
                "variants": {name: self._record(name) for name in self.variants},
            }
        )

    def to_json(self, path: str | Path | None = None) -> str:
        """`to_dict` as text, also written to `path`. OutputError when it cannot be."""
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"
        if path is not None:
            output.write_text(path, text, overwrite=True)
        return text

    def to_markdown(self, figures: Sequence[str] | None = None) -> str:
        """A table for a page: the main figure with its difference to the first variant, then `figures`.

        Mean ± standard deviation over seeds; in brackets 95 % intervals; p as `Difference` says.
        """
        more = [f for f in self.figures if f not in (self.main, "J", "F")] if figures is None else list(figures)
        head = ["variant", "seeds", self.main, f"Δ {self.main}", "p", *(f for f in more if f != self.main)]
        lines = [head, ["---"] * len(head)]
        for name in self.variants:
            seeds = ", ".join(str(run.seed) for run in self._of(name))
            cells = [_cell(f, self.cell(name, f)) for f in head[5:]]
            lines.append(
                [_escaped(name), seeds, _cell(self.main, self.cell(name, self.main)), *self._gap(name), *cells]
            )
        text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return "\n".join([text, "", *(f"- {note}" for note in (*self.notes, *self._doubts))]).rstrip() + "\n"

    def plot(self, path: str | Path, figure: str | None = None) -> Path:
        """Each variant's mean with its 95 % interval, single seeds as dots; PNG or SVG by `path`.

        MissingExtraError without matplotlib; OutputError when `path` cannot be written.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingExtraError("a plot needs matplotlib: pip install revseg[plots]") from error
        figure = self.main if figure is None else figure
        page = Figure(figsize=(6.4, 1.1 + 0.42 * len(self.variants)), layout="constrained")
        axes: Any = page.add_subplot()
        intervals = 0
        for place, name in enumerate(self.variants):
            cell = self.cell(name, figure)
            intervals += cell.low is not None
            colour = "#555555" if place == 0 else "#2f6f9f"
            low, high = (cell.mean if bound is None else bound for bound in (cell.low, cell.high))
            axes.plot([low, high], [place, place], color=colour, linewidth=2)
            axes.plot(list(cell.seeds.values()), [place] * len(cell.seeds), "o", color=colour, alpha=0.4, markersize=4)
            axes.plot(cell.mean, place, "D", color=colour, markersize=6)
        axes.axvline(self.cell(self.variants[0], figure).mean, color="#999999", linewidth=0.8, linestyle=":")
        axes.set_yticks(range(len(self.variants)), [name.replace("$", r"\$") for name in self.variants])
        axes.invert_yaxis()
        axes.set_xlabel(
            f"{figure}, mean and 95 % interval" if intervals else f"{figure}, mean: too few videos for more"
        )
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", alpha=0.25, linewidth=0.5)
        try:
            page.savefig(path, dpi=150)
        except (OSError, ValueError) as error:
            raise OutputError(
                f"cannot write {path}: {error}; name a .png or .svg file in a folder that exists"
            ) from error
        return Path(path)

    @cached_property
    def _by_variant(self) -> dict[str, list[Run]]:
        names = dict.fromkeys(run.variant for run in self.runs)
        return {name: [run for run in self.runs if run.variant == name] for name in names}

    @property
    def _doubts(self) -> list[str]:
        """Why variants have neither interval nor p: too few videos."""
        few: dict[str, dict[str, None]] = {}
        for run in self.runs:
            kept = [q for q in run.scores.queries if q.stratum is not None and self.main in q.values]
            few.setdefault(why_none(len({query.video for query in kept})), {})[run.variant] = None
        return [f"no interval and no p for {', '.join(names)}: {why}" for why, names in few.items() if why]

    def _of(self, variant: str, figure: str | None = None) -> list[Run]:
        if variant not in self._by_variant:
            raise InputError(f"no variant {variant!r}; there are {', '.join(self.variants)}")
        if figure is not None and figure not in self.figures:
            raise InputError(f"no figure {figure!r}; there are {', '.join(self.figures)}")
        return self._by_variant[variant]

    def _gap(self, name: str) -> list[str]:
        if name == self.variants[0]:
            return ["", ""]
        d = self.difference(name, figure=self.main)
        mark = "" if self.paired(name) else " (not paired)"
        return [f"{d.text(1)}{mark}", d.p_text()]

    def _record(self, name: str) -> dict[str, Any]:
        runs, first = self._of(name), self.variants[0]
        gaps = {f: self.difference(name, figure=f) for f in self.figures} if name != first else {}
        return {
            "paired": self.paired(name),
            "dataset": runs[0].header["dataset"],
            "figures": {f: asdict(self.cell(name, f)) for f in self.figures},
            "differences": {f: {"difference": d.difference, **vars(d)} for f, d in gaps.items()},
            "groups": _group_means(runs),
            "seconds_per_query": float(np.mean([run.seconds for run in runs])),
            "crashed": sum(run.crashed for run in runs),
            "training": {str(run.seed): dict(run.train) for run in runs if run.train},
            "spec": runs[0].header["spec"],
        }


def _group_means(runs: Sequence[Run]) -> dict[str, dict[str, float]]:
    """Per type of question the means over runs."""
    found: dict[str, dict[str, float]] = {}
    for group, values in runs[0].scores.groups.items():
        every = [run.scores.groups.get(group, {}) for run in runs]
        found[group] = {name: float(np.mean([v[name] for v in every if name in v])) for name in values}
    return found


def _cell(figure: str, cell: Cell) -> str:
    scale, digits = (1, 3) if figure == "reward" else (100, 1)
    spread = "" if cell.spread is None else f" ± {scale * cell.spread:.{digits}f}"
    return f"{scale * cell.mean:.{digits}f}{spread}"


def _escaped(name: str) -> str:
    return name.replace("|", "\\|").replace("\n", " ")


def plain(value: Any) -> Any:
    """As JSON can hold it: None for NaN and infinities, keys as texts."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
