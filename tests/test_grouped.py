"""Attention to a prompt that lies in memory once: what the same attention gives when every row has its copy."""

from types import SimpleNamespace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from revseg.policies.hf.shared_prefix_attention import Common, grouped_attention

SCALE = 0.3


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The definition, row by row and head by head."""
    out = torch.zeros(len(query), query.shape[2], query.shape[1], query.shape[3], dtype=query.dtype)
    repeat = query.shape[1] // key.shape[1]
    for row in range(len(query)):
        for head in range(query.shape[1]):
            scores = query[row, head] @ key[row, head // repeat].T * SCALE
            weights = scores.masked_fill(~mask[row], -torch.inf).softmax(-1)
            out[row, :, head] = weights @ value[row, head // repeat]
    return out


@given(
    rows=st.lists(st.integers(0, 2), min_size=1, max_size=6),
    new=st.sampled_from([1, 1, 3]),
    said=st.integers(0, 3),
    repeat=st.integers(1, 3),
    masked=st.booleans(),
    seed=st.integers(0, 9),
)
@settings(max_examples=60, deadline=None)
def test_equal_to_attention_over_copies(
    rows: list[int], new: int, said: int, repeat: int, masked: bool, seed: int
) -> None:
    """Groups of uneven sizes or without rows, prompts with padding, holes in replies, fewer heads for keys."""
    draw = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    heads, dim, length = 2, 4, 5
    keys, values = random(3, heads, length, dim), random(3, heads, length, dim)
    real = torch.arange(length) >= torch.tensor([0, 2, 4])[:, None]
    query = random(len(rows), heads * repeat, new, dim)
    key, value = random(len(rows), heads, said + new, dim), random(len(rows), heads, said + new, dim)
    own = torch.ones(new, said + new, dtype=torch.bool).tril(said).repeat(len(rows), 1, 1)
    if masked and said:
        own[0, :, 0] = False
    where = torch.tensor(rows)
    module = SimpleNamespace(layer_idx=1, num_key_value_groups=repeat, is_causal=True)
    common = Common([(keys * 0, values), (keys, values)], real, where)
    mask = own[:, None] if masked else None
    got, _ = grouped_attention(module, query, key, value, mask, common=common, scaling=SCALE)
    whole = torch.cat([real[where][:, None].expand(-1, new, -1), own], -1)
    expected = attend(query, torch.cat([keys[where], key], 2), torch.cat([values[where], value], 2), whole)
    torch.testing.assert_close(got, expected)


def test_rows_selected_go_on_from_their_prompts() -> None:
    common = Common([], torch.ones(3, 2, dtype=torch.bool), torch.tensor([0, 0, 1, 2, 2]))
    chosen = common.select(torch.tensor([4, 0, 3]))
    assert chosen.rows.tolist() == [2, 0, 2]
    assert chosen.width == 2
    assert chosen.places.tolist() == [4, 0, 5]
