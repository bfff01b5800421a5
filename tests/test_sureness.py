"""Intervals and p-values: against SciPy, by hand, and how often they find a difference where there is none."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_rows import made_row, square, write_results
from scipy.stats import permutation_test

from revseg.evaluation import Results, compare, score
from revseg.evaluation.scores.bootstrap import LEAST_VIDEOS, resampled, too_few
from revseg.evaluation.scores.compare import Comparison, Difference
from revseg.evaluation.scores.permutation import DRAWS, dealt_anew, sign_flips
from revseg.evaluation.scores.table import QueryScore


def queries(values: Sequence[Sequence[float]], strata: Sequence[str] = ("all",)) -> list[QueryScore]:
    """A list of values a video; query k of a video is of stratum k, counted round."""
    flat = [(f"v{v}", value, strata[k % len(strata)]) for v, row in enumerate(values) for k, value in enumerate(row)]
    return [
        QueryScore(i, video, f"q{i}", "", "", stratum, None, False, {"J": value})
        for i, (video, value, stratum) in enumerate(flat)
    ]


def changes(made: Sequence[QueryScore]) -> dict[int, float]:
    return {query.index: query.values["J"] for query in made}


@given(st.lists(st.integers(-5, 5), min_size=6, max_size=11))
@settings(max_examples=40, deadline=None)
def test_sign_flips_are_scipys(values: list[int]):
    made = queries([[v] for v in values])
    expected = permutation_test((np.array(values, float),), np.mean, permutation_type="samples", n_resamples=10**6)
    assert sign_flips(made, changes(made)) == pytest.approx(float(expected.pvalue), abs=1e-12)


@given(st.lists(st.lists(st.integers(-3, 3), min_size=1, max_size=3), min_size=6, max_size=8))
@settings(max_examples=40, deadline=None)
def test_all_queries_of_a_video_are_flipped_together(values: list[list[int]]):
    made = queries(values, ("referring", "reasoning"))
    strata = sorted({q.stratum for q in made if q.stratum})

    def overall(signs: Sequence[int]) -> float:
        parts = [[signs[int(q.video[1:])] * q.values["J"] for q in made if q.stratum == s] for s in strata]
        return abs(float(np.mean([np.mean(part) for part in parts])))

    every = [overall(signs) for signs in itertools.product((1, -1), repeat=len(values))]
    expected = np.mean([one >= overall([1] * len(values)) - 1e-9 for one in every])
    assert sign_flips(made, changes(made)) == pytest.approx(float(expected), abs=1e-12)


@given(st.lists(st.integers(0, 4), min_size=6, max_size=6), st.lists(st.integers(0, 6), min_size=6, max_size=7))
@settings(max_examples=20, deadline=None)
def test_dealing_anew_is_scipys(left: list[int], right: list[int]):
    one, other = queries([[v] for v in left]), queries([[v] for v in right])
    sides = np.array(left, float), np.array(right, float)
    expected = permutation_test(
        sides, lambda a, b: abs(a.mean() - b.mean()), alternative="greater", n_resamples=10**6, vectorized=False
    )
    assert dealt_anew(one, other, "J") == pytest.approx(float(expected.pvalue), abs=1e-12)


def test_many_videos_are_drawn_and_no_p_is_zero():
    made = queries([[1.0]] * 40)
    assert sign_flips(made, changes(made)) == 1 / (DRAWS + 1)
    assert dealt_anew(made, queries([[0.0]] * 40), "J") == 1 / (DRAWS + 1)
    rng = np.random.default_rng(0)
    made = queries([[float(v)] for v in rng.normal(0.3, 1, 40)])
    p = sign_flips(made, changes(made))
    expected = permutation_test(
        (np.array(list(changes(made).values())),), np.mean, permutation_type="samples", n_resamples=20000, rng=rng
    )
    assert p == pytest.approx(float(expected.pvalue), abs=0.01)
    assert p == sign_flips(made, changes(made))  # the same each time


def test_few_videos_give_none():
    for count in range(1, LEAST_VIDEOS):
        made = queries([[1.0, 1.0]] * count)
        assert sign_flips(made, changes(made)) is None
        assert not len(resampled(made, changes(made), 100, 0))
        assert f"{count} video" in too_few(made)
        assert dealt_anew(made, queries([[0.0]] * 9), "J") is None
    made = queries([[1.0]] * LEAST_VIDEOS)
    assert sign_flips(made, changes(made)) == 2 / 2**LEAST_VIDEOS < 0.05
    assert too_few(made) == ""
    assert sign_flips(queries([[0.0]] * 8), dict.fromkeys(range(8), 0.0)) == 1
    assert dealt_anew(made, queries([[1.0]] * 9, ("other",)), "J") is None


def test_without_a_difference_one_trial_in_twenty_finds_one():
    """Videos of one to six queries that share most of their luck. The share of trials with p <= 0.05 is at most 5 %;
    taking queries for independent would find many more."""
    rng = np.random.default_rng(7)
    trials, found, naive = 600, 0, 0
    for _ in range(trials):
        sizes = rng.integers(1, 7, size=rng.integers(7, 13))
        values = [(rng.normal() + 0.3 * rng.normal(size=size)).tolist() for size in sizes]
        made = queries(values)
        p = sign_flips(made, changes(made))
        assert p is not None
        found += p <= 0.05
        alone = queries([[v] for row in values for v in row])
        q = sign_flips(alone, changes(alone))
        naive += q is not None and q <= 0.05
    spread = np.sqrt(0.05 * 0.95 / trials)
    assert found / trials < 0.05 + 3 * spread
    assert found / trials > 0.02
    assert naive / trials > 0.15


def run(folder: Path, name: str, videos: int, shift: int) -> Results:
    rows = [made_row(i, masks=square(4 + shift).to_dict()) for i in range(videos)]
    return Results.open(write_results(folder / f"{name}.jsonl", rows))


def printed(found: Comparison, figure: str) -> list[str]:
    """The words of a figure's line."""
    return next(line.split() for line in found.text().splitlines() if line.startswith(f"{figure} "))


def test_two_queries_show_nothing_and_it_is_said(tmp_path: Path):
    found = compare(run(tmp_path, "a", 2, 3), run(tmp_path, "b", 2, 0))
    change = found.differences["J&F"]
    assert (change.low, change.high, change.p) == (None, None, None)
    assert len(printed(found, "J&F")) == 7  # its name, A, B, the difference and three counts: no interval, no p
    assert "no interval and no p for J, F, J&F, T-acc: 2 videos, and 95% need at least 6" in found.text()
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert data["differences"]["J&F"]["p"] is None
    assert data["differences"]["J&F"]["why"].startswith("2 videos")
    alone = score(run(tmp_path, "a", 2, 3))
    assert alone.intervals == {}
    assert "note: no interval: 2 videos, and 95% need at least 6" in alone.text()
    assert alone.to_dict()["no_interval"] == alone.no_interval
    assert "1 video, and" in score(run(tmp_path, "a", 1, 3)).no_interval
    assert score(run(tmp_path, "a", 1, 3), draws=0).no_interval == ""


def test_six_videos_are_the_fewest(tmp_path: Path):
    found = compare(run(tmp_path, "a", 6, 3), run(tmp_path, "b", 6, 0))
    assert found.differences["J&F"].p == 2 / 2**6
    assert printed(found, "J&F")[-4:] == ["0.031", "6", "0", "0"]
    assert "no interval" not in found.text()
    assert score(run(tmp_path, "a", 6, 3)).no_interval == ""


def test_a_p_is_never_printed_as_zero():
    def text(p: float | None) -> str:
        return Difference(0, 1, None, None, p, 1, 0, 0).p_text()

    assert [text(p) for p in (None, 1e-4, 0.00099, 0.001, 0.05, 1.0)] == [
        "",
        "<0.001",
        "<0.001",
        "0.001",
        "0.050",
        "1.000",
    ]
