"""The scores of a run: figures per query, and the means over them that a benchmark defines."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from revseg.evaluation.results import Row
from revseg.text_table import text_table


@dataclass(frozen=True)
class QueryScore:
    """One query's figures, in [0, 1] (areas in pixels). The overall mean is one over strata, see `overall_means`."""

    index: int  # of the row; negative for a query that has no row and counts all the same
    video: str
    query: str
    text: str
    group: str  # the type of question, for tables
    stratum: str | None  # None: not part of the overall figure
    failure: str | None
    missing: bool
    values: Mapping[str, float]

    @staticmethod
    def of(
        row: Row, values: Mapping[str, float], *, group: str = "", stratum: str | None = "all", missing: bool = False
    ) -> "QueryScore":
        plain = {name: float(value) for name, value in values.items()}
        return QueryScore(
            row.index, row.video or "", row.query or "", row.text, group, stratum, row.failure, missing, plain
        )


@dataclass(frozen=True)
class Scores:
    """A run's figures under one protocol, in [0, 1]; `text` prints percent.

    `overall` and `groups` are means. `intervals` are 95 % bootstrap intervals of the overall means, over whole videos.
    `missing` counts the queries without a prediction, `skipped` those left out of the means.
    """

    protocol: str
    about: str  # one line: which figures, averaged over what
    missing_is: str  # "zero", "skip" or "error"
    samples: int  # of the evaluation
    queries: tuple[QueryScore, ...]
    overall: Mapping[str, float]
    groups: Mapping[str, Mapping[str, float]]
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    no_interval: str = ""  # which figures have none, and why

    @property
    def missing(self) -> int:
        return sum(query.missing for query in self.queries)

    @property
    def skipped(self) -> int:
        return sum(not query.values for query in self.queries)

    def to_dict(self, queries: bool = False) -> dict[str, Any]:
        """Plain JSON; with `queries`, also the figures of each query."""
        data: dict[str, Any] = {
            "protocol": self.protocol,
            "about": self.about,
            "missing": {"counts_as": self.missing_is, "queries": self.missing, "skipped": self.skipped},
            "samples": self.samples,
            "queries": len(self.queries),
            "overall": dict(self.overall),
            "intervals": {name: list(bounds) for name, bounds in self.intervals.items()},
            "no_interval": self.no_interval,
            "groups": {name: dict(values) for name, values in self.groups.items()},
            "notes": list(self.notes),
        }
        if queries:
            data["per_query"] = [
                {**{k: v for k, v in vars(query).items() if k != "values"}, **query.values} for query in self.queries
            ]
        return data

    def query_csv(self) -> str:
        """A row per query. An apostrophe is put before text that a spreadsheet would run as a formula."""
        names = list(dict.fromkeys(name for query in self.queries for name in query.values))
        head = ["index", "video", "query", "text", "group", "failure", "missing"]
        lines = [
            [*(_cell(getattr(query, column)) for column in head), *(query.values.get(name, "") for name in names)]
            for query in self.queries
        ]
        return _csv([[*head, *names], *lines])

    def group_csv(self) -> str:
        """A row per group, then "overall"."""
        names = list(dict.fromkeys(name for values in [*self.groups.values(), self.overall] for name in values))
        lines = [
            [_cell(group), *(v.get(n, "") for n in names)]
            for group, v in [*self.groups.items(), ("overall", self.overall)]
        ]
        return _csv([["group", *names], *lines])

    def text(self) -> str:
        """For a terminal: percent, with intervals."""
        names = list(self.overall)
        rows = [(group or "(no type)", *(_percent(v.get(n)) for n in names)) for group, v in self.groups.items()]
        rows.append(("overall", *(_percent(self.overall[n]) for n in names)))
        if self.intervals:
            rows.append(("95% interval", *(_range(self.intervals.get(n)) for n in names)))
        table = text_table([("", *names), *rows])
        skipped = f", {self.skipped} left out" if self.skipped else ""
        head = [
            f"{self.protocol}: {self.about}",
            f"{len(self.queries)} scored, {self.missing} without a prediction (missing={self.missing_is}){skipped}",
        ]
        notes = [*self.notes, *([self.no_interval] if self.no_interval else [])]
        return "\n".join([*head, "", table, *(f"note: {note}" for note in notes)])


def means(queries: Iterable[QueryScore]) -> dict[str, float]:
    """The mean of each figure over the queries that have it; J&F is the mean of the means of J and F."""
    columns: dict[str, list[float]] = {}
    for query in queries:
        for name, value in query.values.items():
            columns.setdefault(name, []).append(value)
    return _with_jf({name: float(np.mean(values)) for name, values in columns.items()})


def overall_means(queries: Sequence[QueryScore]) -> dict[str, float]:
    """The mean over strata of the means within each."""
    strata = dict.fromkeys(query.stratum for query in queries if query.stratum is not None)
    parts = [means(query for query in queries if query.stratum == stratum) for stratum in strata]
    names = dict.fromkeys(name for part in parts for name in part)
    return _with_jf({name: float(np.mean([part[name] for part in parts if name in part])) for name in names})


def group_means(queries: Sequence[QueryScore]) -> dict[str, dict[str, float]]:
    """The means of each group, sorted by name; empty when there is one group only."""
    groups = sorted({query.group for query in queries})
    if len(groups) < 2:
        return {}
    return {group: means(query for query in queries if query.group == group) for group in groups}


def _with_jf(values: dict[str, float]) -> dict[str, float]:
    if "J" in values and "F" in values:
        values["J&F"] = (values["J"] + values["F"]) / 2
    return values


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def _range(bounds: tuple[float, float] | None) -> str:
    return "-" if bounds is None else f"{100 * bounds[0]:.1f}..{100 * bounds[1]:.1f}"


def _cell(value: Any) -> Any:
    dangerous = isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r")
    return f"'{value}" if dangerous else value


def _csv(rows: Iterable[Iterable[Any]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()
