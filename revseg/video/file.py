"""Frames of a video file by their number in display order: the right frame or an error, on any file FFmpeg reads.

Why PyAV and not decord: decord (3.4) counts frames after a seek, and miscounts where a group of pictures is open. Of
300 numbered frames it gave 94 for frame 90 of an HEVC file with x265's defaults, 91 for frame 120 of an open-GOP H.264
file, 30 for frame 0 of an MPEG transport stream; it ignores the edit list of a trimmed MP4, and gives four channels for
pictures that are 48 or 96 pixels wide (tests/test_video.py makes such files).

Here a frame is found by its timestamp where timestamps are reliable (`revseg.video.index`): mostly in MP4, MOV,
Matroska, WebM, FLV and transport streams, and where every frame is a key frame. A read costs a seek and at most one
group of pictures. In other files, such as AVI, frames are counted from the start: opening decodes the file once, and a
read decodes on from the last frame read, or from the start for an earlier one. The frames of one read are sorted, so
that it decodes the file at most once. `ffmpeg -i IN -c:v libx264 OUT.mp4` makes such a file fast.
"""

import gc
import os
import threading
import warnings
import weakref
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from revseg.errors import RevsegWarning, VideoError
from revseg.video.decode import Decoder
from revseg.video.index import Index, checked_start, read_index

NEAR = 8  # frames; so far ahead decoding on is cheaper than a seek


@dataclass(eq=False)
class FileReader:
    """Random access to a file's frames. Keeps their timestamps (8 bytes per frame) and one open decoder per process."""

    path: str
    index: Index
    size: tuple[int, int] = (0, 0)
    _decoder: Decoder | None = field(default=None, repr=False)
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        _READERS.add(self)

    @staticmethod
    def open(path: str) -> "FileReader":
        """Lists the file's frames, mostly without decoding, and reads the first; VideoError when it cannot.

        Warns once per process when the end of the file is missing; the frames before it can be read.
        """
        from av.error import FFmpegError

        try:
            reader = FileReader(path, read_index(path))
            frame = reader._find(0)
            if frame is not None and frame.interlaced_frame and reader.index.counted is None:
                reader.index = checked_start(path, reader.index)  # the two fields of a frame may be two packets
                frame = reader._find(0)
            reader.size = reader._picture(0, frame).shape[:2]
            if reader.index.cut:
                reader._drop_tail()
        except (FFmpegError, OSError) as error:
            if isinstance(error, VideoError):
                raise
            raise VideoError(f"{path}: expected a video file that FFmpeg can read: {error}") from error
        return reader

    @property
    def pts(self) -> np.ndarray:
        """Timestamps in display order; empty where frames are counted."""
        return self.index.pts

    @property
    def fps(self) -> float:
        """Average frames per second."""
        return self.index.fps

    def __len__(self) -> int:
        return len(self.index)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "index": self.index, "size": self.size}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        """uint8[t h w 3]. Each distinct frame is decoded once, in the order of the file."""
        frames = np.empty((len(indices), *self.size, 3), np.uint8)
        with self._lock:
            for index in np.unique(indices):
                image = self._image(int(index))
                if image.shape[:2] != self.size:
                    (h, w), (height, width) = image.shape[:2], self.size
                    raise VideoError(f"{self.path}: frame {index} is {w}x{h}, the first is {width}x{height}")
                frames[indices == index] = image
        return frames

    def _image(self, index: int) -> np.ndarray:
        from av.error import FFmpegError

        try:
            frame = self._find(index)
        except (FFmpegError, OSError) as error:
            raise VideoError(f"{self.path}: cannot read frame {index} of {len(self)}: {error}") from error
        return self._picture(index, frame)

    def _picture(self, index: int, frame: Any) -> np.ndarray:
        if frame is None or self._decoder is None:
            raise VideoError(
                f"{self.path}: short read, frame {index} of {len(self)} cannot be decoded: the file is damaged, "
                "protected, or its timestamps are wrong; convert it with ffmpeg first"
            )
        return self._decoder.picture(frame)

    def _find(self, index: int) -> Any:
        """The decoded frame; None when it cannot be decoded."""
        if self.index.counted is not None:
            return self._count_to(index)
        if self._decoder is None:
            self._decoder = Decoder.open(self.path)
        return self._seek_to(self._decoder, index)

    def _count_to(self, index: int) -> Any:
        """Decodes on, or from the start for an earlier frame. Never seeks, since the count would be lost."""
        if self._decoder is None or self._decoder.shown > index:
            self._decoder = Decoder.open(self.path, threads=self.index.threads)
        return self._decoder.count_to(index)

    def _seek_to(self, decoder: Decoder, index: int) -> Any:
        """Decodes on when the frame is near; else seeks, further back each time the frame does not come."""
        target = int(self.pts[index])
        starts = self.index.keys[: np.searchsorted(self.index.keys, target, side="right")]
        last = decoder.last
        if last is not None and last < target:
            near = index - np.searchsorted(self.pts, last) <= NEAR
            if near or not len(starts) or starts[-1] <= last:
                frame = decoder.scan(target)
                if frame is not None:
                    return frame
        for back in (1, 2, 4):
            if back <= len(starts):
                decoder.seek(int(starts[-back]))
                frame = decoder.scan(target)
                if frame is not None:
                    return frame
        self._decoder = Decoder.open(self.path)  # from the start, for frames that no seek reaches
        return self._decoder.scan(target)

    def _drop_tail(self) -> None:
        """Drops the last frames of a truncated file, which need missing packets, and warns."""
        if self.index.counted is None:
            self.index = replace(self.index, pts=self.pts[: self._whole()])
        key = (os.path.abspath(self.path), len(self))
        if key not in _WARNED:
            _WARNED.add(key)
            message = f"{self.path}: the file was cut short or damaged; its first {len(self)} frames are used"
            warnings.warn(message, RevsegWarning, stacklevel=4)

    def _whole(self) -> int:
        """Number of frames up to the end, or up to the first one after the last key frame that cannot be decoded."""
        key = int(self.index.keys[-1])
        decoder = self._decoder = Decoder.open(self.path)
        decoder.seek(key)
        start = int(np.searchsorted(self.pts, key))
        decoded = {frame.pts for frame in decoder.frames if not frame.is_corrupt}
        lost = [i for i in range(start, len(self)) if self.pts[i] not in decoded]
        if not lost or lost[0] > start:
            return lost[0] if lost else len(self)
        decoder = self._decoder = Decoder.open(self.path)  # no seek reaches the end
        return max((int(np.searchsorted(self.pts, f.pts)) for f in decoder.frames if f.pts in self.pts), default=0) + 1

    def _forked(self) -> None:
        """A forked process opens the file again. The parent's decoder is kept: its threads could not be joined here."""
        if self._decoder is not None:
            _INHERITED.append(self._decoder)
        self._decoder, self._lock = None, threading.Lock()


_READERS: "weakref.WeakSet[FileReader]" = weakref.WeakSet()
_INHERITED: list[Decoder] = []
_WARNED: set[tuple[str, int]] = set()


def _after_fork() -> None:
    for reader in list(_READERS):
        reader._forked()


if hasattr(os, "register_at_fork"):
    # PyAV's garbage is collected before a fork, since a child that did it would wait for the parent's threads
    os.register_at_fork(before=gc.collect, after_in_child=_after_fork)
