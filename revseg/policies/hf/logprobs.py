"""Log-probs of tokens that were sampled before, with gradients, without a whole batch of logits in memory."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from revseg.policies.hf.chunked_logprobs import vocabulary_logprobs
from revseg.policies.hf.codecs import Encoded
from revseg.policies.hf.inputs import base_model, collate, pictures_once
from revseg.policies.hf.kv_cache import cache_option
from revseg.types import Rollout

if TYPE_CHECKING:
    import torch


def logprobs(policy: Any, rollouts: Sequence[Rollout], *, temperature: float = 1.0) -> "list[torch.Tensor]":
    """Per rollout float32[n]: log-probs of its sampled tokens, every round in order, under the weights as they are."""
    pieces = [policy.codec.encode(rollout, None) for rollout in rollouts]
    states, ids = sampled_states(policy, pieces)
    head, suppressed = policy.model.get_output_embeddings(), policy.suppressed
    scores = vocabulary_logprobs(head, states, ids, suppressed=suppressed, temperature=temperature)
    return list(scores.split([sum(len(t.reply.token_ids) for t in r.turns) for r in rollouts]))


def sampled_states(policy: Any, pieces: Sequence[Sequence[Encoded]]) -> "tuple[torch.Tensor, torch.Tensor]":
    """The hidden states float[n h] that predict the sampled tokens, and these tokens int64[n], row after row.

    A first prompt that several rows share (a group's), or its beginning up to the last picture, is read once. All rows
    use its keys and values, so that their gradients add up in it.
    """
    import torch
    from transformers import DynamicCache

    later = any(len(piece.token_ids) for row in pieces for piece in row[1:])
    cut = shared_openings(pieces)
    prompts = list(dict.fromkeys(row[0] for row in cut))
    # layers that keep a state share no prompts; checkpointed ones are run again in the backward pass and take no cache
    whole = len(prompts) == len(pieces) or not later or policy.codec.cache != "full" or _checkpointed(policy.model)
    marks = torch.as_tensor(sampled_positions(pieces, left=not whole), device=policy.model.device)
    if whole:
        inputs = collate(policy, pieces, [0] * len(pieces), distinct=True, causal=True)
        hidden = hidden_states(policy, pictures_once(policy, pieces, inputs))
        return hidden[:, :-1][marks[:, 1:]], inputs["input_ids"][:, 1:][marks[:, 1:]]
    cache = DynamicCache()
    opening = collate(policy, [[prompt] for prompt in prompts], [0] * len(prompts))
    last = hidden_states(policy, opening, cache)[:, -1]
    rows = torch.tensor([prompts.index(row[0]) for row in cut])  # on the CPU: layers may lie on several devices
    cache.batch_select_indices(rows)
    starts = [policy.codec.positions(row[:1])[1] for row in cut]
    rest = [row[1:] for row in cut]
    inputs = collate(policy, rest, starts, distinct=True)
    ids, real = inputs["input_ids"], inputs["attention_mask"]
    inputs = pictures_once(policy, rest, inputs)
    inputs["attention_mask"] = torch.cat([opening["attention_mask"][rows], real], 1)
    hidden = hidden_states(policy, inputs, cache)
    begins = real.cumsum(1) == 1  # a row's first token was predicted by the last of its prompt
    before = torch.where(begins[..., None], last[rows][:, None], hidden.roll(1, 1))
    some = marks[:, -real.shape[1] :] & real
    return before[some], ids[some]


def hidden_states(policy: Any, inputs: "dict[str, torch.Tensor]", cache: Any = None) -> "torch.Tensor":
    """float[b s h]: the hidden states that the output layer reads; keys and values are added to `cache`."""
    model = base_model(policy.model).model
    return model(**inputs, **cache_option(model, cache), use_cache=cache is not None).last_hidden_state


def shared_openings(pieces: "Sequence[Sequence[Encoded]]") -> "list[list[Encoded]]":
    """The rows. If no two share their first piece, these are split after the last picture where rows begin alike then.

    Equal beginnings become one object.
    """
    rows = [list(row) for row in pieces]
    if len({row[0] for row in rows}) < len(rows):
        return rows
    seen: dict[tuple[bytes, tuple[Any, ...]], Encoded] = {}
    cut = []
    for first, *rest in rows:
        words = first.runs[-1]
        assert isinstance(words, int)
        end = len(first.token_ids) - words
        head = Encoded(first.token_ids[:end], first.runs[:-1], first.blocks)
        head = seen.setdefault((head.token_ids.tobytes(), first.blocks), head)
        cut.append([head, Encoded(first.token_ids[end:], first.runs[-1:], ()), *rest])
    return cut if len(seen) < len(rows) and all(key[1] for key in seen) else rows


def _checkpointed(model: Any) -> bool:
    layers = base_model(model).model.language_model.layers
    return model.training and any(getattr(layer, "gradient_checkpointing", False) for layer in layers)


def sampled_positions(pieces: Sequence[Sequence[Encoded]], *, left: bool) -> np.ndarray:
    """bool[b s]: which tokens of the padded rows were sampled (those of a policy's replies), and so count for a loss.

    `left` says on which side the padding is.
    """
    rows = [np.concatenate([np.full(len(piece.token_ids), piece.sampled) for piece in row]) for row in pieces]
    marks = np.zeros((len(rows), max(map(len, rows))), bool)
    for mark, row in zip(marks, rows, strict=True):
        start = len(mark) - len(row) if left else 0
        mark[start : start + len(row)] = row
    return marks
