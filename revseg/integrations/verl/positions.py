"""Positions of the tokens in verl's batches, by the rule of the codec.

verl asks the model's processor for the positions of token ids whose placeholders are expanded already, and binds
transformers' rule to it. That rule counts differently after a clip that is longer in time than in width (see
`revseg.policies.hf.mrope`), and verl drops the time between the frames. So the codec's rule is bound instead.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int64

from revseg.errors import InputError
from revseg.policies.hf.codecs.chat import ChatCodec
from revseg.policies.hf.codecs.codec import Encoded
from revseg.policies.hf.mrope import Grid

if TYPE_CHECKING:
    import torch

Sizes = Sequence[Sequence[int]]  # (t, h, w) of each picture or clip, counted in patches


def runs_of(ids: Sequence[int], codec: ChatCodec, images: Sizes = (), videos: Sizes = ()) -> tuple[int | Grid, ...]:
    """Runs of text tokens and of pictures, as in `Encoded`, of tokens with expanded placeholders.

    InputError when the placeholders are not those of the pictures.
    """
    images, videos = list(images), list(videos)
    seconds = codec.layout.temporal / codec.fps
    grids = {
        codec.config.image_token_id: iter([_grid(size, codec, 0.0) for size in images]),
        codec.config.video_token_id: iter([_grid(size, codec, seconds) for size in videos]),
    }
    runs = tuple(_read(list(ids), grids))
    used = sum(isinstance(run, Grid) for run in runs)
    if used != len(images) + len(videos):
        raise InputError(f"expected the placeholders of {len(images) + len(videos)} pictures, the tokens hold {used}")
    return runs


def positions_of(
    ids: Sequence[int], codec: ChatCodec, images: Sizes = (), videos: Sizes = ()
) -> Int64[np.ndarray, "3 n"]:
    """The rows t, h, w of tokens with expanded placeholders."""
    encoded = Encoded(np.asarray(ids, np.int64), runs_of(ids, codec, images, videos))
    return codec.positions([encoded])[0]


def bind_positions(processor: Any, codec: ChatCodec) -> None:
    """Make `positions_of` what verl calls for the positions of its batches. Binding again does no harm."""

    def get_rope_index(
        input_ids: "torch.Tensor",
        attention_mask: "torch.Tensor | None" = None,
        image_grid_thw: "torch.Tensor | None" = None,
        video_grid_thw: "torch.Tensor | None" = None,
        **_: Any,
    ) -> "tuple[torch.Tensor, None]":
        import torch

        if len(input_ids) != 1:  # the grids do not say which row they belong to
            raise InputError(f"expected the positions of one conversation at a time, got {len(input_ids)}")
        real = torch.ones_like(input_ids[0]) if attention_mask is None else attention_mask[0]
        where = real.bool()
        sizes = [[] if grids is None else grids.tolist() for grids in (image_grid_thw, video_grid_thw)]
        found = torch.zeros(3, 1, input_ids.shape[1], dtype=torch.long)
        found[:, 0, where] = torch.from_numpy(positions_of(input_ids[0][where].tolist(), codec, *sizes))
        return found, None

    def get_rope_index_kwargs(inputs: dict[str, Any]) -> dict[str, Any]:
        inputs.pop("second_per_grid_ts", None)  # of no use to the model's forward; the codec knows the seconds
        return {}

    processor.get_rope_index = get_rope_index
    processor.get_rope_index_kwargs = get_rope_index_kwargs


def _grid(size: Sequence[int], codec: ChatCodec, seconds: float) -> Grid:
    t, h, w = size
    return Grid(t, h // codec.layout.merge, w // codec.layout.merge, seconds)


def _read(ids: list[int], grids: dict[int, Iterator[Grid]]) -> Iterator[int | Grid]:
    text, at = 0, 0
    while at < len(ids):
        if ids[at] not in grids:
            text, at = text + 1, at + 1
            continue
        grid = next(grids[ids[at]], None)
        end = at + (grid.tokens if grid else 1)
        if grid is None or ids[at:end] != [ids[at]] * grid.tokens:
            raise InputError(f"the placeholder tokens from {at} on are not those of the picture {grid}")
        yield text
        yield grid
        text, at = 0, end
    yield text
