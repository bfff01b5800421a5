"""Frames of a video file through decord, which most of the field reads with, for results comparable with theirs.

Chosen with `Video.open(path, backend="decord")`. It is frame-exact on files with closed groups of pictures, such as
MP4s from phones and by x264's defaults; `revseg.video.file` lists files on which it is not. Pixels are given as stored,
while `revseg.video.file` makes them square.
"""

import os
import sys
import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from revseg.errors import InputError, VideoError


@dataclass(eq=False)
class DecordReader:
    """Random access to a file's frames; the file is opened again in every process, forked or spawned.

    InputError when decord was imported before torch. decord preloads NVIDIA's libraries with global symbols, NVBLAS
    among them, so that a torch loaded later takes its BLAS functions from NVBLAS and crashes in its first matrix
    product. In such a process it is too late for a remedy; otherwise torch is imported first here.
    """

    path: str
    _reader: Any = field(default=None, repr=False)
    _pid: int = field(default=0, repr=False)
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        if "decord" in sys.modules and "torch" not in sys.modules:
            raise InputError(
                "expected torch to be imported before decord, because in the other order torch crashes: put "
                '"import torch" before "import decord", or let revseg import decord'
            )
        self._open()
        if not len(self._reader):
            raise VideoError(f"{self.path}: expected a video, found one without frames")

    def _open(self) -> None:
        import torch  # noqa: F401  # before decord
        from decord import VideoReader, cpu
        from decord._ffi.base import DECORDError

        try:
            self._reader, self._pid = VideoReader(self.path, ctx=cpu(0), num_threads=1), os.getpid()
        except (DECORDError, RuntimeError) as error:
            raise VideoError(f"{self.path}: expected a video file that decord can read: {error}") from error

    def __len__(self) -> int:
        return len(self._reader)

    def __reduce__(self) -> tuple[type["DecordReader"], tuple[str]]:
        return DecordReader, (self.path,)

    @property
    def fps(self) -> float:
        """The file's average rate."""
        return float(self._reader.get_avg_fps())

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the first frame."""
        height, width, channels = self._reader[0].shape
        if channels != 3:
            raise VideoError(f'{self.path}: decord gives {channels} channels, expected 3; open it with backend="av"')
        return height, width

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        """uint8[t h w 3], RGB, in the order asked."""
        from decord._ffi.base import DECORDError

        if self._pid != os.getpid():  # after a fork the file position is shared with the parent, its lock may be locked
            _INHERITED.append(self._reader)  # never destroyed here, which would wait for the parent's threads
            self._lock = threading.Lock()
            self._open()
        try:
            with self._lock:
                return self._reader.get_batch(indices.tolist()).asnumpy()
        except (DECORDError, RuntimeError, IndexError) as error:
            raise VideoError(f"{self.path}: cannot read frames {indices[:5].tolist()}: {error}") from error


_INHERITED: list[Any] = []
