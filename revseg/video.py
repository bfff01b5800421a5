"""A file, a folder of frames or an array as a `Video`: lazy, so that its length never decides the memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, eq=False)
class Video:
    """A source of frames, read lazily: nothing is decoded but what is asked for.

    `reader` maps int64[t] valid indices to uint8[t h w 3] RGB frames in that order; anything that can do so is a video.
    """

    id: str
    size: tuple[int, int]  # (height, width)
    fps: float
    length: int
    reader: Callable[[np.ndarray], np.ndarray]

    def __len__(self) -> int:
        return self.length

    def read(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """uint8[t h w 3], RGB, in the order asked. Raises VideoError on a broken or short read."""
        return self.reader(np.asarray(indices, np.int64))

    @staticmethod
    def open(source: "str | Path | np.ndarray", *, fps: float | None = None) -> "Video":
        """A video file, a folder of numbered JPEG or PNG frames, or an array uint8[t h w 3]."""
        raise NotImplementedError
