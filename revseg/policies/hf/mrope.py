"""Positions for the multimodal rotary embedding of Qwen2.5-VL and its successors, computed here and passed explicitly.

transformers 5.3 and later starts the text after a video at `start + max(h, w)`. The released models were trained with
`start + max(t, h, w)`, which vLLM, SGLang and earlier transformers use too. The two differ when a clip is longer in
time than in width, counted in positions. We use the rule of training in every forward.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64


@dataclass(frozen=True)
class Grid:
    """The tokens of one picture or clip: `t` temporal patches of `h` x `w` tokens; `seconds` from patch to patch."""

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
    """Positions of a sequence of runs: an int is a number of text tokens, a `Grid` the tokens of a picture or clip.

    Text counts up by one on all three rows. A grid starts at the position where text would have gone on, and the text
    after it starts one past the grid's largest position. Returns int64[3 n] and where the next run would start.
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
