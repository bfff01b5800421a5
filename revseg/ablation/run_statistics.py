"""A scored run of an ablation, and intervals and p-values over several runs, one per seed."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from revseg.evaluation.results import Results, Row
from revseg.evaluation.scores.bootstrap import resampled, why_none
from revseg.evaluation.scores.compare import Difference, ends
from revseg.evaluation.scores.permutation import dealt_anew, sign_flips
from revseg.evaluation.scores.protocols import score
from revseg.evaluation.scores.table import QueryScore, Scores, group_means, overall_means

Key = tuple[str, str, str]  # a query's video, id and group


@dataclass(frozen=True, eq=False)
class Run:
    """One variant with one seed, scored.

    Besides the protocol's figures, `scores` has "parsed" (the share of conversations without an error), and, where rows
    have rewards, "reward/<name>" and "reward" (their weighted sum). `truth` is a digest of the queries and their true
    masks: runs with equal ones can be compared query by query. `train` is empty without training.
    """

    variant: str
    seed: int
    scores: Scores
    truth: str
    seconds: float  # per query, for conversation and tracking
    crashed: int
    path: Path  # the results file
    header: Mapping[str, Any]
    train: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def read(
        variant: str, seed: int, results: Results, protocol: str | None = None, train: Mapping[str, Any] | None = None
    ) -> "Run":
        """Score a finished results file; a missing prediction counts as zero."""
        scores = score(results, protocol, draws=0)
        more: dict[int, dict[str, float]] = {}
        truth, seconds, crashed = hashlib.blake2b(digest_size=16), [], 0
        for row in results:
            more[row.index] = row_figures(row)
            truth.update(json.dumps([row.video, row.query, row.data.get("truth")]).encode())
            seconds.append(sum(row.data["timings"].get(name, 0.0) for name in ("rollout", "track")))
            crashed += row.crashed
        mean = float(np.mean(seconds)) if seconds else 0.0
        scores = _with(scores, more)
        return Run(
            variant, seed, scores, truth.hexdigest(), mean, crashed, results.path, results.header, dict(train or {})
        )


def row_figures(row: Row) -> dict[str, float]:
    """A row's figures that are not of its masks: "parsed" and the rewards; none for a crash."""
    if row.crashed:
        return {}
    values = {"parsed": float(row.failure is None)}
    rewards = row.data.get("rewards")
    if rewards is None:
        return values
    values |= {f"reward/{name}": float(value) for name, value in rewards["values"].items()}
    return {**values, "reward": float(rewards["total"])}


def _with(scores: Scores, more: Mapping[int, Mapping[str, float]]) -> Scores:
    """The scores with more figures per query; unchanged where the protocol does not score one query per row."""
    if sorted(query.index for query in scores.queries) != sorted(more):
        return scores
    queries = tuple(replace(query, values={**query.values, **more[query.index]}) for query in scores.queries)
    names = {name for values in more.values() for name in values}
    known = {name: value for name, value in overall_means(queries).items() if name in names}
    overall = {**scores.overall, **{name: known[name] for name in ordered(known)}}
    groups = {group: {**scores.groups.get(group, {}), **values} for group, values in group_means(queries).items()}
    return replace(scores, queries=queries, overall=overall, groups=groups)


def ordered(names: Mapping[str, Any]) -> list[str]:
    """The names with "parsed" first and "reward", the weighted sum, last."""
    return sorted(names, key=lambda name: (name != "parsed", name == "reward", list(names).index(name)))


def bootstrap_draws(runs: Sequence[Sequence[QueryScore]], name: str, draws: int, seed: int = 0) -> np.ndarray:
    """float64[runs, draws]: bootstrap values of each run's overall figure, whole videos drawn with replacement.

    With equal `seed`, equal lists of queries get the same draws. Empty with too few videos, see `bootstrap`.
    """
    rows = []
    for queries in runs:
        kept = _figure(queries, name)
        rows.append(resampled(kept, {query.index: query.values[name] for query in kept}, draws, seed))
    if not rows or any(len(row) == 0 for row in rows):
        return np.zeros(0)
    return np.array(rows)


def resample_runs(rows: np.ndarray, stream: int) -> Float64[np.ndarray, " d"]:
    """From [runs, draws] to [draws]: per draw, the mean over as many runs, drawn with replacement."""
    count, draws = rows.shape
    times = np.random.default_rng([stream, count]).multinomial(count, np.full(count, 1 / count), size=draws)
    return (times.T * rows).sum(0) / count


def mean_of(runs: Sequence[Run], name: str) -> float:
    """The overall figure, averaged over the runs."""
    return float(np.mean([run.scores.overall[name] for run in runs]))


def paired(a: Sequence[Run], b: Sequence[Run]) -> bool:
    """True when all runs have the same queries with the same truth."""
    return len({run.truth for run in (*a, *b)}) == 1


def difference(a: Sequence[Run], b: Sequence[Run], name: str, draws: int) -> Difference:
    """B minus A of one figure: the difference of the means over runs, with a 95 % interval and p.

    The interval is a bootstrap over runs and over whole videos. Where A and B are `paired`, both get the same videos in
    each draw; else each gets its own, and no queries are counted as better or worse. p is of a permutation test over
    videos, with the runs fixed. With too few videos there is neither.
    """
    same = paired(a, b)
    both = set(_per_query(a, name)) & set(_per_query(b, name)) if same else None
    left = bootstrap_draws([_kept(run, both) for run in a], name, draws, seed=0)
    right = bootstrap_draws([_kept(run, both) for run in b], name, draws, seed=0 if same else 1)
    low, high = ends(resample_runs(right, 2) - resample_runs(left, 1)) if len(left) and len(right) else (None, None)
    changes = _changes(a, b, name) if same else {}
    sides = [_figure(_kept(run, both), name) for run in (a[0], b[0])]
    videos = min(len({query.video for query in side}) for side in sides)
    why = why_none(videos) if videos else f"{name} is no mean of queries"
    if why:
        p = None
    elif same:
        p = sign_flips(sides[0], {q.index: changes[_key(q)] for q in sides[0]})
    else:
        p = dealt_anew(_pooled(a, name), _pooled(b, name), name)
    gains = np.array(list(changes.values()))
    counts = (int((gains > 1e-9).sum()), int((np.abs(gains) <= 1e-9).sum()), int((gains < -1e-9).sum()))
    return Difference(mean_of(a, name), mean_of(b, name), low, high, p, *counts, why)


def _kept(run: Run, wanted: Collection[Key] | None) -> list[QueryScore]:
    """The queries in `wanted` (None: all), so that both sides draw from the same ones when a query of one crashed."""
    return [query for query in run.scores.queries if wanted is None or _key(query) in wanted]


def _figure(queries: Sequence[QueryScore], name: str) -> list[QueryScore]:
    """The queries that the overall figure averages."""
    return [query for query in queries if query.stratum is not None and name in query.values]


def _pooled(runs: Sequence[Run], name: str) -> list[QueryScore]:
    """The queries of all runs, with new numbers that are unique."""
    every = [query for run in runs for query in _figure(run.scores.queries, name)]
    return [replace(query, index=number) for number, query in enumerate(every)]


def _changes(a: Sequence[Run], b: Sequence[Run], name: str) -> dict[Key, float]:
    """Per query, B's mean over runs minus A's."""
    one, other = _per_query(a, name), _per_query(b, name)
    return {key: other[key] - one[key] for key in one if key in other}


def _per_query(runs: Sequence[Run], name: str) -> dict[Key, float]:
    """Per query that has the figure in every run, its mean over runs."""
    values: dict[Key, list[float]] = {}
    for run in runs:
        for query in run.scores.queries:
            if name in query.values:
                values.setdefault(_key(query), []).append(query.values[name])
    return {key: float(np.mean(each)) for key, each in values.items() if len(each) == len(runs)}


def _key(query: QueryScore) -> Key:
    return query.video, query.query, query.group
