"""One scored run of an ablation, and how sure figures are when there are several runs, one a seed."""

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

    `scores` holds, beside the protocol's figures, "parsed" (share of replies that did), "reward/<name>" and "reward"
    (the weighted sum) where rows have rewards. `truth` is a digest of the queries and their true masks: runs in which
    it is the same can be compared query by query. `seconds` are per query, of conversation and tracking. `train` is
    empty without training.
    """

    variant: str
    seed: int
    scores: Scores
    truth: str
    seconds: float
    crashed: int
    path: Path  # the results file
    header: Mapping[str, Any]
    train: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def read(
        variant: str, seed: int, results: Results, protocol: str | None = None, train: Mapping[str, Any] | None = None
    ) -> "Run":
        """Scores a finished results file; a missing prediction counts as zero."""
        scores = score(results, protocol, draws=0)
        more: dict[int, dict[str, float]] = {}
        truth, seconds, crashed = hashlib.blake2b(digest_size=16), [], 0
        for row in results:
            more[row.index] = judged(row)
            truth.update(json.dumps([row.video, row.query, row.data.get("truth")]).encode())
            seconds.append(sum(row.data["timings"].get(name, 0.0) for name in ("rollout", "track")))
            crashed += row.crashed
        mean = float(np.mean(seconds)) if seconds else 0.0
        found = _with(scores, more)
        return Run(
            variant, seed, found, truth.hexdigest(), mean, crashed, results.path, results.header, dict(train or {})
        )


def judged(row: Row) -> dict[str, float]:
    """What a row says beside its masks; nothing when our code broke."""
    if row.crashed:
        return {}
    values = {"parsed": float(row.failure is None)}
    rewards = row.data.get("rewards")
    if rewards is None:
        return values
    values |= {f"reward/{name}": float(value) for name, value in rewards["values"].items()}
    return {**values, "reward": float(rewards["total"])}


def _with(scores: Scores, more: Mapping[int, Mapping[str, float]]) -> Scores:
    """The scores with further figures; as they are where the protocol's units are not the rows."""
    if sorted(query.index for query in scores.queries) != sorted(more):
        return scores
    queries = tuple(replace(query, values={**query.values, **more[query.index]}) for query in scores.queries)
    names = {name for values in more.values() for name in values}
    known = {name: value for name, value in overall_means(queries).items() if name in names}
    overall = {**scores.overall, **{name: known[name] for name in ordered(known)}}
    groups = {group: {**scores.groups.get(group, {}), **values} for group, values in group_means(queries).items()}
    return replace(scores, queries=queries, overall=overall, groups=groups)


def ordered(names: Mapping[str, Any]) -> list[str]:
    """Parsed first, then the rewards, then their sum."""
    return sorted(names, key=lambda name: (name != "parsed", name == "reward", list(names).index(name)))


def drawn(runs: Sequence[Sequence[QueryScore]], name: str, draws: int, seed: int = 0) -> np.ndarray:
    """float64[runs, draws]: each run's overall figure, videos drawn with replacement each time.

    Equal lists of queries are drawn alike with an equal `seed`. Empty with too few videos, see `bootstrap`.
    """
    rows = []
    for queries in runs:
        kept = _figure(queries, name)
        rows.append(resampled(kept, {query.index: query.values[name] for query in kept}, draws, seed))
    if not rows or any(len(row) == 0 for row in rows):
        return np.zeros(0)
    return np.array(rows)


def over_runs(rows: np.ndarray, stream: int) -> Float64[np.ndarray, " d"]:
    """From [runs, draws] to [draws]: each time the mean of as many runs drawn with replacement."""
    count, draws = rows.shape
    times = np.random.default_rng([stream, count]).multinomial(count, np.full(count, 1 / count), size=draws)
    return (times.T * rows).sum(0) / count


def mean_of(runs: Sequence[Run], name: str) -> float:
    """The overall figure, averaged over the runs."""
    return float(np.mean([run.scores.overall[name] for run in runs]))


def paired(a: Sequence[Run], b: Sequence[Run]) -> bool:
    """True when all runs are of the same queries with the same truth."""
    return len({run.truth for run in (*a, *b)}) == 1


def difference(a: Sequence[Run], b: Sequence[Run], name: str, draws: int) -> Difference:
    """B minus A of one figure, the means over each one's runs, with a 95 % interval.

    Runs are drawn with replacement, and so are whole videos: the same ones for both where they are `paired`, else each
    side's own, in which case no queries are counted as better or worse. p is of a permutation test over the videos,
    the runs as they are. None for both where there are too few videos.
    """
    same = paired(a, b)
    both = set(_per_query(a, name)) & set(_per_query(b, name)) if same else None
    left = drawn([_kept(run, both) for run in a], name, draws, seed=0)
    right = drawn([_kept(run, both) for run in b], name, draws, seed=0 if same else 1)
    low, high = ends(over_runs(right, 2) - over_runs(left, 1)) if len(left) and len(right) else (None, None)
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
    """All queries; or those wanted, so that the same are drawn for runs in which one of them crashed."""
    return [query for query in run.scores.queries if wanted is None or _key(query) in wanted]


def _figure(queries: Sequence[QueryScore], name: str) -> list[QueryScore]:
    """The queries that the overall figure is of."""
    return [query for query in queries if query.stratum is not None and name in query.values]


def _pooled(runs: Sequence[Run], name: str) -> list[QueryScore]:
    """The queries of all runs, numbered anew."""
    every = [query for run in runs for query in _figure(run.scores.queries, name)]
    return [replace(query, index=number) for number, query in enumerate(every)]


def _changes(a: Sequence[Run], b: Sequence[Run], name: str) -> dict[Key, float]:
    """Query by query, the difference of the means over runs."""
    one, other = _per_query(a, name), _per_query(b, name)
    return {key: other[key] - one[key] for key in one if key in other}


def _per_query(runs: Sequence[Run], name: str) -> dict[Key, float]:
    """The mean over runs, of queries that have the figure in each."""
    values: dict[Key, list[float]] = {}
    for run in runs:
        for query in run.scores.queries:
            if name in query.values:
                values.setdefault(_key(query), []).append(query.values[name])
    return {key: float(np.mean(found)) for key, found in values.items() if len(found) == len(runs)}


def _key(query: QueryScore) -> Key:
    return query.video, query.query, query.group
