"""Log-probs of tokens already sampled, with gradients, without the logits of a whole batch in memory."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from revseg.rollout.generation import token_logprobs
from revseg.rollout.session import collate
from revseg.types import Rollout

if TYPE_CHECKING:
    import torch


def logprobs(
    policy: Any, rollouts: Sequence[Rollout], *, temperature: float = 1.0, chunk: int = 256
) -> "list[torch.Tensor]":
    """Per rollout float32[n], its sampled tokens of every round in order: log-probs under the policy as it is now."""
    import torch

    pieces = [policy.encoder.conversation(rollout, None) for rollout in rollouts]
    inputs = collate(policy, pieces, [0] * len(pieces))
    hidden = hidden_states(policy, inputs)
    sampled = torch.as_tensor(sampled_positions(rollouts, pieces), device=hidden.device)
    ids = inputs["input_ids"][:, 1:][sampled[:, 1:]]
    scores = chunked_logprobs(policy, hidden[:, :-1][sampled[:, 1:]], ids, temperature=temperature, chunk=chunk)
    return list(scores.split([sum(len(t.reply.token_ids) for t in r.turns) for r in rollouts]))


def hidden_states(policy: Any, inputs: "dict[str, torch.Tensor]") -> "torch.Tensor":
    """float[b s h]: the last hidden states, before the vocabulary."""
    base = policy.model.get_base_model() if hasattr(policy.model, "get_base_model") else policy.model
    return base.model(**inputs, use_cache=False).last_hidden_state


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


def chunked_logprobs(
    policy: Any, hidden: "torch.Tensor", ids: "torch.Tensor", *, temperature: float, chunk: int
) -> "torch.Tensor":
    """float32[n] from hidden states [n h]: the vocabulary is met `chunk` tokens at a time, forwards and backwards."""
    import torch
    from torch.utils.checkpoint import checkpoint

    head = policy.model.get_output_embeddings()

    def score(states: "torch.Tensor", tokens: "torch.Tensor") -> "torch.Tensor":
        logits = head(states).index_fill(-1, suppressed, float("-inf"))
        return token_logprobs(logits, tokens, temperature)

    suppressed = torch.as_tensor(policy.suppressed, dtype=torch.int64, device=hidden.device)
    parts = [
        checkpoint(score, states, tokens, use_reentrant=False)
        for states, tokens in zip(hidden.split(chunk), ids.split(chunk), strict=True)
    ]
    return torch.cat(parts) if parts else hidden.new_zeros(0, dtype=torch.float32)
