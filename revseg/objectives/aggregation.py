"""From a loss per token to a scalar, such that the losses of micro-batches add up to that of the batch.

Every mode is a sum divided by a count. The sums of micro-batches add up when each is divided by the count of the whole
batch (over micro-batches and processes).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Aggregation:
    """`total(values [b, s], mask bool[b, s], max_length)` divided by `count(mask)`; not divided where it is None."""

    total: "Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]"
    count: "Callable[[torch.Tensor], torch.Tensor] | None"

    def __call__(
        self, values: "torch.Tensor", mask: "torch.Tensor", *, count: float | None = None, max_length: int = 1024
    ) -> "torch.Tensor":
        """A scalar. When `values` are a micro-batch, `count` is that of the whole batch."""
        total = self.total(values.masked_fill(~mask, 0), mask, max_length)
        if self.count is None:
            return total
        return total / (self.count(mask).clamp(min=1) if count is None else max(float(count), 1.0))


def _tokens(mask: "torch.Tensor") -> "torch.Tensor":
    return mask.sum()


def _sequences(mask: "torch.Tensor") -> "torch.Tensor":
    """The number of sequences with at least one token, as in verl (TRL counts empty ones too)."""
    return mask.any(1).sum()


def _sum(values: "torch.Tensor", mask: "torch.Tensor", max_length: int) -> "torch.Tensor":
    return values.sum()


def _sum_of_means(values: "torch.Tensor", mask: "torch.Tensor", max_length: int) -> "torch.Tensor":
    return (values.sum(1) / mask.sum(1).clamp(min=1)).sum()


def _sum_over_constant(values: "torch.Tensor", mask: "torch.Tensor", max_length: int) -> "torch.Tensor":
    return values.sum() / max_length


AGGREGATIONS = {
    "token_mean": Aggregation(_sum, _tokens),  # DAPO; every token weighs the same
    "token_sum": Aggregation(_sum, None),
    "seq_mean_token_mean": Aggregation(_sum_of_means, _sequences),  # GRPO, GSPO; every sequence weighs the same
    "seq_mean_token_sum": Aggregation(_sum, _sequences),  # RLOO: the sequence is one action
    "seq_mean_token_sum_norm": Aggregation(_sum_over_constant, _sequences),  # Dr. GRPO: over a constant length
}
