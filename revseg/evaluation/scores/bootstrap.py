"""Bootstrap intervals. Whole videos are drawn, because the queries of one video are not independent."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64

from revseg.evaluation.scores.table import QueryScore

# With five, the range from the least to the largest value covers a median with 1 - 2 / 2^5 = 93.75 %, and the signs of
# five differences agree by chance with p = 0.0625: neither a 95 % interval nor p < 0.05 is possible.
LEAST_VIDEOS = 6


def intervals(
    queries: Sequence[QueryScore], *, draws: int = 1000, seed: int = 0, level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Percentile intervals of the overall mean of every figure, over videos drawn with replacement.

    Figures that are not means of queries (cIoU, R of a run) have none, nor those of fewer than `LEAST_VIDEOS` videos.
    """
    found = {}
    for name, kept in _by_figure(queries).items():
        drawn = resampled(kept, {q.index: q.values[name] for q in kept}, draws, seed)
        if len(drawn):
            low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
            found[name] = (float(low), float(high))
    return found


def too_few(queries: Sequence[QueryScore]) -> str:
    """Which figures have no interval because there are too few videos; "" when all have one."""
    videos = {name: len({q.video for q in kept}) for name, kept in _by_figure(queries).items()}
    names = [name for name, count in videos.items() if count < LEAST_VIDEOS]
    if not names:
        return ""
    which = "" if len(names) == len(videos) else f" for {', '.join(names)}"
    return f"no interval{which}: {why_none(min(videos[name] for name in names))}"


def why_none(videos: int) -> str:
    """Why this number of videos gives no interval and no p; "" when it is enough."""
    if videos >= LEAST_VIDEOS:
        return ""
    count = "1 video" if videos == 1 else f"{videos} videos"
    return f"{count}, and 95% need at least {LEAST_VIDEOS}"


def resampled(queries: Sequence[QueryScore], values: Mapping[int, float], draws: int, seed: int) -> np.ndarray:
    """float64[draws]: the overall mean of `values` (by a query's index), videos drawn with replacement each time.

    Empty with fewer than `LEAST_VIDEOS`. A draw without any query of a stratum leaves that stratum out of its mean.
    """
    sums, counts = by_video(queries, values)
    if len(sums) < LEAST_VIDEOS or draws < 1:
        return np.zeros(0)
    rng = np.random.default_rng(seed)
    times = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=draws).astype(np.float64)
    return mean_of_strata(times @ sums, times @ counts)


def by_video(
    queries: Sequence[QueryScore], values: Mapping[int, float]
) -> tuple[Float64[np.ndarray, "v s"], Float64[np.ndarray, "v s"]]:
    """For each video and stratum the sum of `values` (by a query's index) and their number."""
    videos = {video: i for i, video in enumerate(dict.fromkeys(query.video for query in queries))}
    strata = {stratum: i for i, stratum in enumerate(sorted({str(query.stratum) for query in queries}))}
    sums, counts = np.zeros((len(videos), len(strata))), np.zeros((len(videos), len(strata)))
    for query in queries:
        where = videos[query.video], strata[str(query.stratum)]
        sums[where] += values[query.index]
        counts[where] += 1
    return sums, counts


def mean_of_strata(sums: Float64[np.ndarray, "n s"], counts: Float64[np.ndarray, "n s"]) -> Float64[np.ndarray, " n"]:
    """The overall figure of each line: the mean of the strata's means, without strata that have no queries."""
    means = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    return np.nanmean(means, axis=1)


def _by_figure(queries: Sequence[QueryScore]) -> dict[str, list[QueryScore]]:
    """The queries that each figure's overall mean is taken over."""
    names = dict.fromkeys(name for query in queries for name in query.values if "area" not in name)
    return {name: [q for q in queries if q.stratum is not None and name in q.values] for name in names}
