"""What a model's forward is given: rows of pieces, padded, with positions and pictures."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from revseg.policies.hf.codecs import Block, Encoded

if TYPE_CHECKING:
    import torch


def collate(
    policy: Any,
    pieces: Sequence[Sequence[Encoded]],
    starts: Sequence[int],
    *,
    distinct: bool = False,
    causal: bool = False,
) -> dict[str, "torch.Tensor"]:
    """Left-padded model inputs for rows of pieces: ids and mask [b s], positions [4 b s], patches and their grids.

    With `distinct`, the patches of a block that several rows share are there once. With `causal`, rows are padded on
    the right and come without a mask: causal attention looks at nothing after a token, and kernels that know it is
    causal skip half of the work.
    """
    import torch

    device = policy.model.device
    rows = [np.concatenate([p.token_ids for p in row]) for row in pieces]
    width = max(map(len, rows))
    ids = np.full((len(rows), width), policy.codec.end_id, np.int64)
    mask = np.zeros((len(rows), width), bool)
    places = np.zeros((4, len(rows), width), np.int64)
    for i, (row, start) in enumerate(zip(pieces, starts, strict=True)):
        pad = 0 if causal else width - len(rows[i])
        here = slice(pad, pad + len(rows[i]))
        ids[i, here], mask[i, here] = rows[i], True
        places[1:, i, here] = policy.codec.positions(row, start)[0]
        # only the three rotary rows matter under a mask; without one, transformers takes a fall for a packed row
        places[0, i, pad:] = np.arange(width - pad)
    inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": places}
    if causal:
        del inputs["attention_mask"]
    batch = {name: torch.as_tensor(value, device=device) for name, value in inputs.items()}
    blocks = blocks_of(pieces)
    for video, pixels, grids in (
        (False, "pixel_values", "image_grid_thw"),
        (True, "pixel_values_videos", "video_grid_thw"),
    ):
        some = [b for b in blocks if b.is_video == video]
        some = list(dict.fromkeys(some)) if distinct else some
        if some:
            batch[pixels], batch[grids] = pixels_of(policy, some)
    return batch


def blocks_of(pieces: Sequence[Sequence[Encoded]]) -> list[Block]:
    """The blocks of all rows, repeats included, in the order of their tokens."""
    return [block for row in pieces for piece in row for block in piece.blocks]


def pictures_once(
    policy: Any, pieces: Sequence[Sequence[Encoded]], inputs: "dict[str, torch.Tensor]"
) -> "dict[str, torch.Tensor]":
    """Inputs collated as `distinct`, made so that the model sees a picture that several rows share only once."""
    return policy.codec.share_pictures(base_model(policy.model), inputs, blocks_of(pieces))


def see(policy: Any, blocks: Sequence[Block]) -> "torch.Tensor":
    """float[n h]: the tokens of blocks of pictures as the language model gets them, block after block."""
    return policy.codec.see(base_model(policy.model), *pixels_of(policy, blocks))


def pixels_of(policy: Any, blocks: Sequence[Block]) -> "tuple[torch.Tensor, torch.Tensor]":
    """What the vision tower reads of blocks: float[n d] in the model's type, and int64[b 3] grids in patches."""
    pixels, grids = policy.codec.pixels(blocks, policy.model.device)
    return pixels.to(policy.model.dtype), grids


def base_model(model: Any) -> Any:
    """The model itself, out of its LoRA wrapper."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
