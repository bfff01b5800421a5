"""Pictures and clips cut into patches, in the order in which Qwen's vision towers and their like read them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from einops import rearrange

from revseg.errors import InputError
from revseg.policies.hf.codecs.codec import Block
from revseg.policies.hf.mrope import Grid
from revseg.types import Clip

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Layout:
    """`patch` x `patch` pixels of `temporal` frames are a patch, `merge` x `merge` patches are a token."""

    patch: int
    merge: int
    temporal: int

    @staticmethod
    def of(vision: Any) -> "Layout":
        """As a configuration's vision part says."""
        return Layout(vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size)

    @property
    def side(self) -> int:
        """Pixels along a side of a token."""
        return self.patch * self.merge


def digest(clip: Clip) -> bytes:
    """Equal for clips with equal frames."""
    frames = np.ascontiguousarray(clip.frames)
    return hashlib.blake2b(frames.data, digest_size=16, salt=str(frames.shape[:3]).encode()[:16]).digest()


def patched(clip: Clip, layout: Layout, fps: float) -> Block:
    """The block of a clip at a frame rate; InputError for a size that patches do not fill."""
    side = layout.side
    height, width = clip.size
    if height % side or width % side:
        raise InputError(
            f"this model reads pictures whose sides are multiples of {side}; the prompt shows {width}x{height}: "
            f"give the prompt size={max(side, round(height / side) * side)}"
        )
    is_video = len(clip) > 1
    frames = clip.frames
    if extra := -len(frames) % layout.temporal:  # a picture is repeated to fill its patch; so is a clip's last frame
        frames = np.concatenate([frames, np.repeat(frames[-1:], extra, 0)])
    patches = rearrange(
        frames,
        "(t pt) (h mh ph) (w mw pw) c -> (t h w mh mw) (c pt ph pw)",
        pt=layout.temporal,
        mh=layout.merge,
        mw=layout.merge,
        ph=layout.patch,
        pw=layout.patch,
    )
    seconds = layout.temporal / fps if is_video else 0.0
    grid = Grid(len(frames) // layout.temporal, height // side, width // side, seconds)
    return Block(patches, grid, is_video, len(clip))


def pixels(
    blocks: Sequence[Block], layout: Layout, image_processor: Any, device: Any
) -> "tuple[torch.Tensor, torch.Tensor]":
    """float32[n d], with the image processor's mean and spread, and int64[b 3] grids counted in patches."""
    import torch

    patches = torch.as_tensor(np.concatenate([b.patches for b in blocks]), device=device)
    sizes = [[b.grid.t, b.grid.h * layout.merge, b.grid.w * layout.merge] for b in blocks]
    return normalise(patches, image_processor), torch.tensor(sizes, device=device)


def normalise(patches: "torch.Tensor", image_processor: Any) -> "torch.Tensor":
    """uint8[n 3*d] patches, channel by channel, to the float32 that the vision tower reads."""
    import torch

    scale = 255.0
    mean = torch.tensor(image_processor.image_mean, device=patches.device)[:, None] * scale
    std = torch.tensor(image_processor.image_std, device=patches.device)[:, None] * scale
    planes = rearrange(patches.float(), "n (c d) -> n c d", c=3)
    return rearrange((planes - mean) / std, "n c d -> n (c d)")
