"""How sure a figure is: bootstrap intervals with whole videos drawn, since queries of one video are not independent."""

from collections.abc import Mapping, Sequence

import numpy as np

from revseg.evaluation.scores.table import QueryScore


def intervals(
    queries: Sequence[QueryScore], *, draws: int = 1000, seed: int = 0, level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Percentile intervals of the overall mean of every figure, over videos drawn with replacement.

    Figures that are not means of queries (cIoU, R of a run) have none; with fewer than two videos there are none.
    """
    names = list(dict.fromkeys(name for query in queries for name in query.values))
    found = {}
    for name in names:
        kept = [query for query in queries if query.stratum is not None and name in query.values]
        drawn = resampled(kept, {q.index: q.values[name] for q in kept}, draws, seed)
        if len(drawn):
            low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
            found[name] = (float(low), float(high))
    return found


def resampled(queries: Sequence[QueryScore], values: Mapping[int, float], draws: int, seed: int) -> np.ndarray:
    """float64[draws]: the overall mean of `values` (by a query's index), videos drawn with replacement each time.

    Empty with fewer than two videos. A draw without any query of a stratum leaves that stratum out of its mean.
    """
    videos = {video: i for i, video in enumerate(dict.fromkeys(query.video for query in queries))}
    strata = {stratum: i for i, stratum in enumerate(dict.fromkeys(query.stratum for query in queries))}
    if len(videos) < 2 or draws < 1:
        return np.zeros(0)
    sums, counts = np.zeros((len(videos), len(strata))), np.zeros((len(videos), len(strata)))
    for query in queries:
        where = videos[query.video], strata[query.stratum]
        sums[where] += values[query.index]
        counts[where] += 1
    rng = np.random.default_rng(seed)
    times = rng.multinomial(len(videos), np.full(len(videos), 1 / len(videos)), size=draws).astype(np.float64)
    total, number = times @ sums, times @ counts
    ratio = np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)
    return np.nanmean(ratio, axis=1)
