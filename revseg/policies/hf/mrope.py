"""Positions for Qwen2.5-VL's multimodal rotary embedding, computed here and passed explicitly.

transformers 5.3 and later counts the text after a video from `start + max(h, w)`, where the released models were
trained (and vLLM, SGLang and earlier transformers run) with `start + max(t, h, w)`. The two differ as soon as a clip
lasts longer than its picture is wide, counted in tokens. We follow the rule of training, in every forward.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64


@dataclass(frozen=True)
class Grid:
    """The tokens of one picture or clip: `t` temporal patches of `h` x `w` merged tokens, `seconds` a patch apart."""

    t: int
    h: int
    w: int
    seconds: float = 0.0  # 0 for pictures: they have no time

    @property
    def tokens(self) -> int:
        return self.t * self.h * self.w


def grid_positions(grid: Grid, start: int, tokens_per_second: float) -> Int64[np.ndarray, "3 n"]:
    """Rows t, h, w of one block's tokens, in the order time, row, column."""
    t, h, w = np.meshgrid(np.arange(grid.t), np.arange(grid.h), np.arange(grid.w), indexing="ij")
    t = np.floor(t * (grid.seconds * tokens_per_second)) if grid.seconds else t
    return np.stack([t, h, w]).reshape(3, -1).astype(np.int64) + start


def positions(
    parts: Sequence[int | Grid], *, start: int = 0, tokens_per_second: float = 2.0
) -> tuple[Int64[np.ndarray, "3 n"], int]:
    """Positions of a sequence given as runs: an int is that many text tokens, a `Grid` a picture's or clip's tokens.

    Text counts up by one on all three rows; a block starts where the text stood, and the text after it continues one
    past the block's largest position. Returns int64[3 n] and where the next run would start.
    """
    rows = []
    for part in parts:
        if isinstance(part, Grid):
            row = grid_positions(part, start, tokens_per_second)
        else:
            row = np.broadcast_to(np.arange(start, start + part, dtype=np.int64), (3, part))
        if row.shape[1]:
            start = int(row.max()) + 1
            rows.append(row)
    return (np.concatenate(rows, 1) if rows else np.zeros((3, 0), np.int64)), start
