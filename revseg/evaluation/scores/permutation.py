"""p-values that hold for few videos: what the difference would be, were it chance which run a video's gain falls to.

Whole videos change sides, as whole videos are drawn for the intervals: queries of one video are not independent. All
arrangements are tried where they are few, and the p is exact; else `DRAWS` random ones, the one at hand counted among
them, (k + 1) / (n + 1), so that no p is ever 0 (Phipson and Smyth, 2010).
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
NOISE = 1e-9  # of the largest possible difference: what rounding makes of equal ones


def sign_flips(queries: Sequence[QueryScore], changes: Mapping[int, float], seed: int = 0) -> float | None:
    """Two-sided p of paired differences (by a query's index): the signs of each video's are flipped together.

    The figure is the overall mean, over strata. None with fewer than `LEAST_VIDEOS` videos, which cannot reach 0.05.
    """
    sums, counts = by_video(queries, changes)
    if len(sums) < LEAST_VIDEOS:
        return None
    share = (sums / counts.sum(0)).mean(1)  # what each video adds to the overall difference
    share = share[np.abs(share) > NOISE * np.abs(share).max()]  # the others' signs change nothing
    few = 2 ** max(len(share) - 1, 0) <= EXACT
    if few:  # the first sign stays: flipping all gives the same size
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=max(len(share) - 1, 0))))
        signs = np.hstack([np.ones((len(signs), min(len(share), 1))), signs])
    else:
        signs = np.random.default_rng(seed).choice((1.0, -1.0), size=(DRAWS, len(share)))
    return _share(signs @ share, float(share.sum()), float(np.abs(share).sum()), few)


def dealt_anew(left: Sequence[QueryScore], right: Sequence[QueryScore], name: str, seed: int = 0) -> float | None:
    """Two-sided p of one figure's difference between runs on other videos: all videos are dealt to the sides anew.

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
    """How many are as far from 0 as the one at hand, which is among them when they are all; else it is added."""
    far = int((np.abs(found) >= abs(here) - NOISE * largest).sum())
    return far / len(found) if exact else (far + 1) / (len(found) + 1)
