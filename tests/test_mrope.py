"""Rotary positions against a table worked out by hand, and against transformers where the two rules agree."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from revseg.policies.hf.mrope import Grid, positions

IMAGE = Grid(1, 2, 3)
SHORT = Grid(2, 2, 2, seconds=0.5)  # one position a temporal patch
LONG = Grid(3, 2, 2, seconds=2.0)  # four positions a temporal patch: longer than wide

TABLE = [
    ("text", [3], [[0, 1, 2]] * 3, 3),
    (
        "image",
        [2, IMAGE, 1],
        [[0, 1, 2, 2, 2, 2, 2, 2, 5], [0, 1, 2, 2, 2, 3, 3, 3, 5], [0, 1, 2, 3, 4, 2, 3, 4, 5]],
        6,
    ),
    (
        "short video",
        [1, SHORT, 1],
        [[0, 1, 1, 1, 1, 2, 2, 2, 2, 3], [0, 1, 1, 2, 2, 1, 1, 2, 2, 3], [0, 1, 2, 1, 2, 1, 2, 1, 2, 3]],
        4,
    ),
    (  # the text after it starts past the last temporal position, 0 + 2 * 4, not past the width
        "long video",
        [LONG, 2],
        [
            [0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 9, 10],
            [0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 9, 10],
            [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 9, 10],
        ],
        11,
    ),
    (
        "video, text, image",
        [LONG, 1, Grid(1, 1, 2), 1],
        [
            [0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 9, 10, 10, 12],
            [0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 9, 10, 10, 12],
            [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 9, 10, 11, 12],
        ],
        13,
    ),
]


@pytest.mark.parametrize(("runs", "expected", "end"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_positions_by_hand(runs: list[int | Grid], expected: list[list[int]], end: int) -> None:
    rows, after = positions(runs, tokens_per_second=2.0)
    assert rows.tolist() == expected
    assert after == end


grids = st.builds(Grid, st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.sampled_from([0.0, 0.5, 1.0]))


@given(st.lists(st.integers(0, 5) | grids, max_size=6), st.integers(0, 6))
def test_pieces_join_to_the_whole(runs: list[int | Grid], cut: int) -> None:
    """A conversation that grows keeps the positions that it had: what the cache relies on."""
    whole, end = positions(runs)
    first, middle = positions(runs[:cut])
    second, last = positions(runs[cut:], start=middle)
    assert np.array_equal(whole, np.concatenate([first, second], 1))
    assert end == last


@given(st.lists(st.integers(1, 5) | grids, min_size=1, max_size=6))
def test_text_always_moves_past_what_came_before(runs: list[int | Grid]) -> None:
    rows, end = positions(runs)
    assert end == rows.max() + 1
    assert rows.shape[1] == sum(run.tokens if isinstance(run, Grid) else run for run in runs)
