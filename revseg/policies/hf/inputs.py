"""What a model's forward is given: rows of pieces, padded, with positions; pictures that rows share seen once."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from revseg.policies.hf.encoding import Block, Encoded

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
    ids = np.full((len(rows), width), policy.encoder.end_id, np.int64)
    mask = np.zeros((len(rows), width), bool)
    places = np.zeros((4, len(rows), width), np.int64)
    for i, (row, start) in enumerate(zip(pieces, starts, strict=True)):
        pad = 0 if causal else width - len(rows[i])
        here = slice(pad, pad + len(rows[i]))
        ids[i, here], mask[i, here] = rows[i], True
        places[1:, i, here] = policy.encoder.positions(row, start)[0]
        # only the three rotary rows matter under a mask; without one, a fall tells transformers of packed rows
        places[0, i, pad:] = np.arange(width - pad)
    inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": places}
    if causal:
        del inputs["attention_mask"]
    batch = {name: torch.as_tensor(value, device=device) for name, value in inputs.items()}
    blocks = [block for row in pieces for piece in row for block in piece.blocks]
    for video, pixels, grids in (
        (False, "pixel_values", "image_grid_thw"),
        (True, "pixel_values_videos", "video_grid_thw"),
    ):
        some = [b for b in blocks if b.is_video == video]
        some = list(dict.fromkeys(some)) if distinct else some
        if some:
            batch[pixels], batch[grids] = patches_of(policy, some)
    return batch


def normalise(patches: "torch.Tensor", processor: Any) -> "torch.Tensor":
    """uint8[n 3*d] patches, channel by channel, to the float32 that the vision tower reads."""
    import torch
    from einops import rearrange

    scale = 255.0
    mean = torch.tensor(processor.image_mean, device=patches.device)[:, None] * scale
    std = torch.tensor(processor.image_std, device=patches.device)[:, None] * scale
    planes = rearrange(patches.float(), "n (c d) -> n c d", c=3)
    return rearrange((planes - mean) / std, "n c d -> n (c d)")


def pictures_once(
    policy: Any, pieces: "Sequence[Sequence[Encoded]]", inputs: "dict[str, torch.Tensor]"
) -> "dict[str, torch.Tensor]":
    """Inputs whose patches are those of distinct blocks, with embeddings instead: a shared picture is seen once."""
    import torch

    model = base_model(policy.model).model
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
    kept = [name for name in ("attention_mask", "position_ids") if name in inputs]
    return {"inputs_embeds": embeds, **{name: inputs[name] for name in kept}}


def see(policy: Any, blocks: Sequence[Block]) -> "torch.Tensor":
    """float[n h]: the tokens of blocks of pictures as the language model gets them, block after block."""
    pixels, grids = patches_of(policy, blocks)
    return base_model(policy.model).model.visual(pixels, grid_thw=grids, return_dict=True).pooler_output


def patches_of(policy: Any, blocks: Sequence[Block]) -> "tuple[torch.Tensor, torch.Tensor]":
    """What the vision tower reads of blocks: float[n d] in the model's type, and int64[b 3] grids in patches."""
    import torch

    device, side = policy.model.device, policy.encoder.merge
    patches = torch.as_tensor(np.concatenate([b.patches for b in blocks]), device=device)
    grids = torch.tensor([[b.grid.t, b.grid.h * side, b.grid.w * side] for b in blocks], device=device)
    return normalise(patches, policy.processor.image_processor).to(policy.model.dtype), grids


def base_model(model: Any) -> Any:
    """The model itself, out of its LoRA wrapper."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
