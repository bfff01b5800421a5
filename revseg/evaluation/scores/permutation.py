"""Permutation tests, whose p-values are valid for few videos too.

The null hypothesis is that chance decides which run has the gain on a video. Whole videos are exchanged, because the
queries of one video are not independent. If there are few arrangements, all are tried and the p-value is exact.
Otherwise `DRAWS` random ones are tried and the observed one is counted too, (k + 1) / (n + 1), so that p is never 0
(Phipson and Smyth, 2010).
"""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64

from revseg.evaluation.scores.bootstrap import LEAST_VIDEOS, by_video, mean_of_strata
from revseg.evaluation.scores.table import QueryScore

DRAWS = 9999
EXACT = 8192  # arrangements that are all tried
NOISE = 1e-9  # times the largest possible difference: differences below it are rounding errors


def sign_flips(queries: Sequence[QueryScore], changes: Mapping[int, float], seed: int = 0) -> float | None:
    """Two-sided p of paired differences (by a query's index): the differences of a video change sign together.

    The figure is the overall mean, over strata. None with fewer than `LEAST_VIDEOS` videos, which cannot reach 0.05.
    """
    sums, counts = by_video(queries, changes)
    if len(sums) < LEAST_VIDEOS:
        return None
    share = (sums / counts.sum(0)).mean(1)  # the part of the overall difference from each video
    share = share[np.abs(share) > NOISE * np.abs(share).max()]  # the signs of the others do not matter
    few = 2 ** max(len(share) - 1, 0) <= EXACT
    if few:  # the first sign stays: flipping all signs gives the same size
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=max(len(share) - 1, 0))))
        signs = np.hstack([np.ones((len(signs), min(len(share), 1))), signs])
    else:
        signs = np.random.default_rng(seed).choice((1.0, -1.0), size=(DRAWS, len(share)))
    return _share(signs @ share, float(share.sum()), float(np.abs(share).sum()), few)


def dealt_anew(left: Sequence[QueryScore], right: Sequence[QueryScore], name: str, seed: int = 0) -> float | None:
    """Two-sided p of a figure's difference between runs on different videos: the videos are divided anew.

    None with fewer than `LEAST_VIDEOS` on a side.
    """
    if len({frozenset(query.stratum for query in queries) for queries in (left, right)}) > 1:
        return None  # not of the same strata
    tables = [by_video(queries, {q.index: q.values[name] for q in queries}) for queries in (left, right)]
    sizes = [len(sums) for sums, _ in tables]
    if min(sizes) < LEAST_VIDEOS:
        return None
    sums, counts = (np.concatenate([table[i] for table in tables]) for i in (0, 1))
    few = math.comb(sum(sizes), sizes[0]) <= EXACT
    sides = np.zeros((math.comb(sum(sizes), sizes[0]) if few else DRAWS, sum(sizes)))
    if few:
        for line, chosen in zip(sides, itertools.combinations(range(sum(sizes)), sizes[0]), strict=True):
            line[list(chosen)] = 1
    else:
        sides[:, : sizes[0]] = 1
        sides = np.random.default_rng(seed).permuted(sides, axis=1)
    found = mean_of_strata((1 - sides) @ sums, (1 - sides) @ counts) - mean_of_strata(sides @ sums, sides @ counts)
    at_hand = np.repeat([1.0, 0.0], sizes)[None]
    here = mean_of_strata((1 - at_hand) @ sums, (1 - at_hand) @ counts) - mean_of_strata(
        at_hand @ sums, at_hand @ counts
    )
    return _share(found, float(here[0]), float(np.abs(found).max(initial=0)), few)


def _share(found: Float64[np.ndarray, " n"], here: float, largest: float, exact: bool) -> float:
    """The share of arrangements as far from 0 as the observed one, which is added unless all were tried."""
    far = int((np.abs(found) >= abs(here) - NOISE * largest).sum())
    return far / len(found) if exact else (far + 1) / (len(found) + 1)
