"""Log-probs for a large vocabulary, forward and backward, with the logits of only a few tokens in memory at a time.

The gradient of a log-prob with respect to the logits has a closed form (one at the token, minus the softmax), so that
autograd has to keep only the hidden states and one number per token. The backward pass computes the logits again and
turns them into their gradient in place.
"""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

CHUNK = 64  # tokens: at Qwen's vocabulary 39 MB of float32


def vocabulary_logprobs(
    head: Any,
    states: "torch.Tensor",
    ids: "torch.Tensor",
    *,
    suppressed: Sequence[int] = (),
    temperature: float = 1.0,
    chunk: int = CHUNK,
) -> "torch.Tensor":
    """float32[n]: log-probs of tokens int64[n] from hidden states [n h] by `head`, a module that gives logits [n v].

    `suppressed` tokens have no probability; a temperature of 0 (greedy) counts as 1. Gradients reach the states and
    the head's trained parameters. There are no second derivatives.
    """
    trained = [p for p in head.parameters() if p.requires_grad]
    settings = (head, list(suppressed), temperature if temperature > 0 else 1.0, chunk)
    return _function(states.device.type).apply(states, ids, settings, *trained)


@functools.cache
def _function(device: str) -> Any:
    import torch

    class LogProbs(torch.autograd.Function):
        @staticmethod
        @torch.amp.custom_fwd(device_type=device)
        def forward(ctx: Any, states: Any, ids: Any, settings: tuple[Any, ...], *trained: Any) -> Any:
            ctx.settings = settings
            scores, totals = states.new_empty(2, len(ids), dtype=torch.float32)
            for some in torch.arange(len(ids), device=ids.device).split(settings[3]):
                logits = _scaled(settings, settings[0](states[some]))
                totals[some] = logits.logsumexp(-1)
                scores[some] = logits.gather(-1, ids[some, None])[:, 0] - totals[some]
            ctx.save_for_backward(states, ids, totals, *trained)
            return scores

        @staticmethod
        @torch.autograd.function.once_differentiable
        @torch.amp.custom_bwd(device_type=device)
        def backward(ctx: Any, *slopes: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
            states, ids, totals, *trained = ctx.saved_tensors
            moves, sums = torch.zeros_like(states), [torch.zeros_like(p) for p in trained]
            for some in torch.arange(len(ids), device=ids.device).split(ctx.settings[3]):
                with torch.enable_grad():
                    inputs = states[some].detach().requires_grad_()
                    logits = ctx.settings[0](inputs)
                weights = slopes[0][some, None]
                slope = _scaled(ctx.settings, logits.detach()).sub_(totals[some, None]).exp_().mul_(-weights)
                slope.scatter_add_(1, ids[some, None], weights).div_(ctx.settings[2])
                move, *grads = torch.autograd.grad(logits, [inputs, *trained], slope.to(logits.dtype))
                moves[some] = move
                for total, grad in zip(sums, grads, strict=True):
                    total.add_(grad)
            return moves, None, None, *sums

    return LogProbs


def _scaled(settings: tuple[Any, ...], logits: "torch.Tensor") -> "torch.Tensor":
    """float32 logits divided by the temperature, suppressed tokens at -inf; in place if they are float32 already."""
    _, suppressed, temperature, _ = settings
    logits = logits.float()
    logits[:, suppressed] = float("-inf")
    return logits if temperature == 1 else logits.div_(temperature)
