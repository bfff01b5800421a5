"""Attention of a group's rows to the prompt that they share, which is in memory once.

The time of a decoding step goes into reading keys and values. All rows of a group continue one prompt: their queries
are put side by side, so that its keys are read once per group instead of once per row, and are not copied (the idea of
Hydragen, arXiv 2402.05099). The tokens after the prompt are in each row's own cache; one softmax covers both.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Common:
    """g prompts that were read once, and which of them each of the b rows continues.

    `layers` holds keys and values [g heads p d] of each layer; `mask` bool[g p] marks real tokens, `rows` int64[b].
    """

    layers: "Sequence[tuple[torch.Tensor, torch.Tensor]]"
    mask: "torch.Tensor"
    rows: "torch.Tensor"

    def select(self, index: "torch.Tensor") -> "Common":
        """The same prompts for these rows."""
        return replace(self, rows=self.rows[index.to(self.rows.device)])

    @cached_property
    def width(self) -> int:
        """Rows of the largest group."""
        return int(self.rows.bincount(minlength=len(self.mask)).max())

    @cached_property
    def places(self) -> "torch.Tensor":
        """int64[b]: each row's place when every group is padded to `width` rows."""
        import torch

        order = self.rows.argsort(stable=True)
        counts = self.rows.bincount(minlength=len(self.mask))
        begins = counts.cumsum(0) - counts
        places = torch.empty_like(self.rows)
        places[order] = torch.arange(len(order), device=order.device) - begins[self.rows[order]]
        return self.rows * self.width + places


def grouped_attention(
    module: Any,
    query: "torch.Tensor",
    key: "torch.Tensor",
    value: "torch.Tensor",
    attention_mask: "torch.Tensor | None",
    *,
    common: Common | None = None,
    **options: Any,
) -> "tuple[torch.Tensor, None]":
    """query [b H q d]; key, value [b K s d] and bool [b 1 q s] of the rows' own tokens; gives [b q H d].

    Without `common` this is transformers' scaled dot-product attention.
    """
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if common is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    keys, values = common.layers[module.layer_idx]
    if query.shape[2] == 1:
        own = None if attention_mask is None else attention_mask[:, :, 0]
        return _next_token(query, key, value, own, keys, values, common, options["scaling"]), None
    # many tokens: arithmetic outweighs reading, and the library's kernel does not store all scores
    rows = common.rows.to(keys.device)
    if attention_mask is None:
        attention_mask = query.new_ones(query.shape[2], key.shape[2], dtype=torch.bool).tril(
            key.shape[2] - query.shape[2]
        )
    own = attention_mask.expand(len(query), 1, -1, -1)
    shared = common.mask.to(keys.device)[rows][:, None, None].expand(-1, -1, query.shape[2], -1)
    key, value = torch.cat([keys[rows], key], 2), torch.cat([values[rows], value], 2)
    return sdpa_attention_forward(module, query, key, value, torch.cat([shared, own], -1), **options)


def _next_token(
    query: "torch.Tensor",
    key: "torch.Tensor",
    value: "torch.Tensor",
    own: "torch.Tensor | None",
    keys: "torch.Tensor",
    values: "torch.Tensor",
    common: Common,
    scaling: float,
) -> "torch.Tensor":
    """[b 1 H d] for one query per row; `own` bool[b 1 s] masks the row's own tokens."""
    import torch
    from einops import rearrange

    groups, heads, far = keys.shape[:3]
    places = common.places.to(keys.device)

    def by_group(rows: "torch.Tensor") -> "torch.Tensor":
        grid = rows.new_zeros(groups * common.width, *rows.shape[1:])
        grid[places] = rows
        return rearrange(grid, "(g n) k r x -> g k (n r) x", g=groups)

    def by_row(grid: "torch.Tensor") -> "torch.Tensor":
        return rearrange(grid, "g k (n r) x -> (g n) k r x", n=common.width)[places]

    q = rearrange(query, "b (k r) 1 d -> b k r d", k=heads) * scaling
    hidden = ~common.mask.to(keys.device)[:, None, None]
    shared = (by_group(q) @ keys.transpose(-1, -2)).masked_fill(hidden, -torch.inf)
    near = q @ key.transpose(-1, -2)
    if own is not None:
        near = near.masked_fill(~own[:, :, None], -torch.inf)
    weights = torch.cat([by_row(shared), near], -1).softmax(-1, dtype=torch.float32).to(value.dtype)
    out = by_row(by_group(weights[..., :far]) @ values) + weights[..., far:] @ value
    return rearrange(out, "b k r d -> b 1 (k r) d")
