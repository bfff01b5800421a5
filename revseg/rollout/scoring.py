"""Log-probs of tokens already sampled, with gradients, without the logits of a whole batch in memory."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from revseg.rollout.session import collate
from revseg.rollout.vocabulary import vocabulary_logprobs
from revseg.types import Rollout

if TYPE_CHECKING:
    import torch

    from revseg.rollout.encoding import Encoded


def logprobs(policy: Any, rollouts: Sequence[Rollout], *, temperature: float = 1.0) -> "list[torch.Tensor]":
    """Per rollout float32[n], its sampled tokens of every round in order: log-probs under the policy as it is now."""
    pieces = [policy.encoder.conversation(rollout, None) for rollout in rollouts]
    states, ids = sampled_states(policy, rollouts, pieces)
    head, suppressed = policy.model.get_output_embeddings(), policy.suppressed
    scores = vocabulary_logprobs(head, states, ids, suppressed=suppressed, temperature=temperature)
    return list(scores.split([sum(len(t.reply.token_ids) for t in r.turns) for r in rollouts]))


def sampled_states(
    policy: Any, rollouts: Sequence[Rollout], pieces: "Sequence[Sequence[Encoded]]"
) -> "tuple[torch.Tensor, torch.Tensor]":
    """float[n h] hidden states from which the sampled tokens int64[n] were predicted, row after row.

    A first prompt that several rows have in common (a group's, with its clip) is read once; its keys and values are
    every row's, so gradients add up in it.
    """
    import torch
    from transformers import DynamicCache

    marks = torch.as_tensor(sampled_positions(rollouts, pieces), device=policy.model.device)
    prompts = list(dict.fromkeys(row[0] for row in pieces))
    said = any(len(piece.token_ids) for row in pieces for piece in row[1:])
    # checkpointed layers are run again in the backward pass, and so take no cache
    if len(prompts) == len(pieces) or not said or _checkpointed(policy.model):
        inputs = collate(policy, pieces, [0] * len(pieces), distinct=True)
        hidden = hidden_states(policy, pictures_once(policy, pieces, inputs))
        return hidden[:, :-1][marks[:, 1:]], inputs["input_ids"][:, 1:][marks[:, 1:]]
    cache = DynamicCache()
    opening = collate(policy, [[prompt] for prompt in prompts], [0] * len(prompts))
    last = hidden_states(policy, opening, cache)[:, -1]
    rows = torch.tensor([prompts.index(row[0]) for row in pieces])  # on the CPU: layers may lie on several devices
    cache.batch_select_indices(rows)
    starts = [policy.encoder.positions(row[:1])[1] for row in pieces]
    inputs = collate(policy, [row[1:] for row in pieces], starts)
    real = inputs["attention_mask"]
    inputs["attention_mask"] = torch.cat([opening["attention_mask"][rows], real], 1)
    hidden = hidden_states(policy, inputs, cache)
    begins = real.cumsum(1) == 1  # a row's first token was predicted by the last of its prompt
    before = torch.where(begins[..., None], last[rows][:, None], hidden.roll(1, 1))
    some = marks[:, -real.shape[1] :] & real
    return before[some], inputs["input_ids"][some]


def hidden_states(policy: Any, inputs: "dict[str, torch.Tensor]", cache: Any = None) -> "torch.Tensor":
    """float[b s h]: the last hidden states, before the vocabulary; keys and values are added to `cache`."""
    base = _base(policy.model)
    return base.model(**inputs, past_key_values=cache, use_cache=cache is not None).last_hidden_state


def pictures_once(
    policy: Any, pieces: "Sequence[Sequence[Encoded]]", inputs: "dict[str, torch.Tensor]"
) -> "dict[str, torch.Tensor]":
    """Inputs whose patches are those of distinct blocks, with embeddings instead: a shared picture is seen once."""
    import torch

    model = _base(policy.model).model
    ids = inputs["input_ids"]
    embeds = model.get_input_embeddings()(ids)
    blocks = [block for row in pieces for piece in row for block in piece.blocks]
    config = policy.encoder.config
    for is_video, pixels, grids, token in (
        (False, "pixel_values", "image_grid_thw", config.image_token_id),
        (True, "pixel_values_videos", "video_grid_thw", config.video_token_id),
    ):
        if pixels not in inputs:
            continue
        some = [block for block in blocks if block.is_video == is_video]
        distinct = list(dict.fromkeys(some))
        seen = model.visual(inputs[pixels].type(model.visual.dtype), grid_thw=inputs[grids], return_dict=True)
        parts = seen.pooler_output.split([block.grid.tokens for block in distinct])
        features = torch.cat([parts[distinct.index(block)] for block in some]).to(embeds)
        embeds = embeds.masked_scatter((ids == token)[..., None], features)
    return {"inputs_embeds": embeds, **{name: inputs[name] for name in ("attention_mask", "position_ids")}}


def _base(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _checkpointed(model: Any) -> bool:
    layers = _base(model).model.language_model.layers
    return model.training and any(getattr(layer, "gradient_checkpointing", False) for layer in layers)


def sampled_positions(rollouts: Sequence[Rollout], pieces: Sequence[Sequence[Any]]) -> np.ndarray:
    """bool[b s]: which tokens of the left-padded rows were sampled (each reply's own), and so count for a loss."""
    width = max(sum(len(p.token_ids) for p in row) for row in pieces)
    marks = np.zeros((len(pieces), width), bool)
    for mark, rollout, row in zip(marks, rollouts, pieces, strict=True):
        at = width - sum(len(p.token_ids) for p in row)
        for index, piece in enumerate(row):
            if index % 2 == 1 and len(rollout.turns[index // 2].reply.token_ids):
                mark[at : at + len(piece.token_ids)] = True
            at += len(piece.token_ids)
    return marks
