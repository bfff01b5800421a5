"""The cache with room: what it gives is what transformers' own gives, and it moves seldom."""

import functools
from typing import Any

import pytest
import torch
from transformers import DynamicCache

from revseg.policies.hf.kv_cache import ROOM, cache_option, roomy_cache


def states(seed: int, rows: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 2, length, 4, generator=draw), torch.randn(rows, 2, length, 4, generator=draw)


@pytest.mark.parametrize("first", [1, 5, ROOM, 2 * ROOM])
def test_equal_to_the_dynamic_cache(first: int) -> None:
    """Tokens one by one, many at once, and rows selected in between, with repeats."""
    ours, theirs = roomy_cache(), DynamicCache()
    rows = 2
    for number, length in enumerate([first, 1, 1, 3, ROOM - 2, 1, 0, 1]):
        for layer in range(2):
            new = states(10 * number + layer, rows, length)
            for a, b in zip(ours.update(*new, layer), theirs.update(*new, layer), strict=True):
                assert torch.equal(a, b)
        assert ours.get_seq_length() == theirs.get_seq_length()
        if number in (0, 3, 5):
            chosen = torch.tensor([0, 1, 1] if rows == 2 else [2, 0])
            rows = len(chosen)
            for cache in (ours, theirs):
                cache.batch_select_indices(chosen)


def test_moves_once_in_many_tokens() -> None:
    cache = roomy_cache()
    homes = {cache.update(*states(n, 1, 1), 0)[0].data_ptr() for n in range(ROOM)}
    assert len(homes) == 1


def test_rows_selected_do_not_write_into_those_before() -> None:
    """The same number of rows: told apart by where they lie."""
    cache = roomy_cache()
    before, _ = cache.update(*states(0, 2, 3), 0)
    kept = before.clone()
    cache.batch_select_indices(torch.tensor([1, 0]))
    after, _ = cache.update(*states(1, 2, 1), 0)
    assert torch.equal(before, kept)
    assert torch.equal(after[:, :, :3], kept[[1, 0]])


def older_forward(self, input_ids=None, past_key_values=None):
    raise NotImplementedError


def newer_forward(self, input_ids=None, cache=None, **kwargs):
    raise NotImplementedError


@functools.wraps(newer_forward)
def decorated_forward(self, *args, **kwargs):
    """As transformers wraps a forward that still takes the older name, with a warning."""
    raise NotImplementedError


@pytest.mark.parametrize(
    ("forward", "name"),
    [(older_forward, "past_key_values"), (newer_forward, "cache"), (decorated_forward, "cache")],
)
def test_a_cache_is_given_by_the_name_that_the_forward_has(forward, name: str) -> None:
    model: Any = type("Model", (), {"forward": forward})()
    cache = object()
    assert cache_option(model, cache) == {name: cache}
    model.forward = lambda *args, **kwargs: None  # as accelerate's hooks do: the class still tells
    assert cache_option(model, cache) == {name: cache}
