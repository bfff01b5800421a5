"""The vision tower's attention over all windows of one length at once.

Without a flash-attention kernel, transformers makes one call per window: hundreds of tiny calls per layer for a batch
of 16-frame clips, whose backward passes take most of a training step on a CPU. Here windows of equal length form a
batch. The result is the same.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def window_attention(
    module: Any,
    query: "torch.Tensor",
    key: "torch.Tensor",
    value: "torch.Tensor",
    attention_mask: None = None,
    *,
    cu_seq_lens_q: "torch.Tensor",
    scaling: float,
    **unused: Any,
) -> "tuple[torch.Tensor, None]":
    """query, key, value [1 heads s d]; window i is `cu_seq_lens_q[i]:cu_seq_lens_q[i + 1]`; gives [1 s heads d]."""
    import torch
    from einops import rearrange

    lengths = cu_seq_lens_q.diff()
    starts = cu_seq_lens_q[:-1]
    rows, outputs = [], []
    for length in lengths.unique().tolist():
        index = (starts[lengths == length, None] + torch.arange(length, device=starts.device)).reshape(-1)
        q, k, v = (
            rearrange(t[0, :, index], "h (n l) d -> n h l d", l=length).contiguous() for t in (query, key, value)
        )
        # a CPU's kernel is slower for short windows in bfloat16 than in float32
        kind = torch.float32 if q.device.type == "cpu" and q.dtype == torch.bfloat16 else q.dtype
        with torch.autocast(q.device.type, enabled=False):
            out = torch.nn.functional.scaled_dot_product_attention(q.to(kind), k.to(kind), v.to(kind), scale=scaling)
        outputs.append(rearrange(out.to(query.dtype), "n h l d -> (n l) h d"))
        rows.append(index)
    back = torch.cat(rows).argsort()
    return torch.cat(outputs)[back][None], None
