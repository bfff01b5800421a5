"""Sampling: a plain decoding loop over a key-value cache, with positions and random numbers under our control."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from revseg.types import Sampling

if TYPE_CHECKING:
    import torch


def choose(logits: "torch.Tensor", uniform: "torch.Tensor", sampling: Sampling) -> "torch.Tensor":
    """One token per row, int64[b], from float[b v] logits: the cumulative distribution is inverted at `uniform` [b].

    `uniform` has one number in [0, 1) per row, so that a row draws the same token whatever the other rows are.
    """
    import torch

    if sampling.temperature == 0:
        return logits.argmax(-1)
    logits = logits / sampling.temperature
    if sampling.top_k:
        kth = logits.topk(min(sampling.top_k, logits.shape[-1]), -1).values[:, -1:]
        logits = logits.masked_fill(logits < kth, -torch.inf)
    probs = logits.softmax(-1)
    if sampling.top_p >= 1:
        return _invert(probs, uniform)
    probs, order = probs.sort(-1, descending=True)
    probs = probs.masked_fill(probs.cumsum(-1) - probs >= sampling.top_p, 0.0)
    return order.gather(-1, _invert(probs, uniform)[:, None])[:, 0]


def _invert(probs: "torch.Tensor", uniform: "torch.Tensor") -> "torch.Tensor":
    mass = probs.cumsum(-1)
    below = mass <= (uniform.to(mass) * mass[:, -1])[:, None]
    return below.sum(-1).clamp(max=mass.shape[-1] - 1)


def token_logprobs(logits: "torch.Tensor", token_ids: "torch.Tensor", temperature: float) -> "torch.Tensor":
    """Log-probs float32[n] of tokens int64[n] under float[n v] logits at a temperature (0, greedy, counts as 1)."""
    logits = logits.float()
    if temperature not in (0, 1):
        logits = logits / temperature
    return logits.gather(-1, token_ids[:, None])[:, 0] - logits.logsumexp(-1)


def decode(
    step: "Callable[[torch.Tensor], torch.Tensor]",
    logits: "torch.Tensor",
    uniforms: np.ndarray,
    *,
    stop_ids: Sequence[int],
    sampling: Sampling,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Sample until every row has stopped: per row int64[n] tokens (the stop token included) and float32[n] log-probs.

    `logits` float[b v] are those after the prompt; `step` takes the tokens int64[b] just drawn and gives the next
    ones. `uniforms` [b, sampling.limit] are the rows' random numbers.
    """
    import torch

    stops = torch.as_tensor(list(stop_ids), device=logits.device)
    numbers = torch.as_tensor(uniforms, device=logits.device)
    alive = torch.ones(len(logits), dtype=torch.bool, device=logits.device)
    tokens: list[Any] = []
    scores: list[Any] = []
    living: list[Any] = []
    for index in range(sampling.limit):
        token = choose(logits.float(), numbers[:, index], sampling)
        tokens.append(token)
        scores.append(token_logprobs(logits, token, sampling.temperature))
        living.append(alive)
        alive = alive & ~torch.isin(token, stops)
        if index + 1 == sampling.limit or not bool(alive.any()):
            break
        logits = step(token)
    ids = torch.stack(tokens, 1).cpu().numpy()
    logprobs = torch.stack(scores, 1).cpu().numpy()
    lengths = torch.stack(living, 1).sum(1).cpu().numpy()
    rows = range(len(ids))
    return [ids[i, : lengths[i]] for i in rows], [logprobs[i, : lengths[i]].astype(np.float32) for i in rows]
