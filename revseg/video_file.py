"""Frames of a video file by their place in the order of display: the right one or an error, on any file FFmpeg reads.

Why PyAV and not decord: decord (3.4) counts frames after a seek, and miscounts where a group of pictures is open. Of
300 numbered frames it gave 94 for frame 90 of an HEVC file as x265 writes it by default, 91 for frame 120 of an
open-group H.264 file, 30 for frame 0 of an MPEG transport stream; it ignores the edit list of a trimmed MP4 and gives
four channels for a rotated one (tests/test_video.py makes such files). Here a frame is known by its timestamp.
"""

import math
import os
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from revseg.errors import RevsegWarning, VideoError

NEAR = 8  # frames: reading on is cheaper than a seek
_SKIPS = ("h264", "hevc")  # decoders that know a frame on which no other rests before they decode it


@dataclass(eq=False)
class Decoder:
    """One open file: a stream of decoded frames that can be moved."""

    container: Any
    frames: Iterator[Any] = field(default_factory=lambda: iter(()))
    last: int | None = None  # timestamp of the frame that came out last; None when just moved
    target: float = -math.inf  # frames before it are not wanted: those on which no other rests are not decoded

    @staticmethod
    def open(path: str) -> "Decoder":
        import av

        container = av.open(path)
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        decoder = Decoder(container)
        decoder.frames = decoder._decode()
        return decoder

    def seek(self, timestamp: int) -> None:
        """To a place from which the frame at this timestamp should decode; containers differ in how exact they are."""
        self.container.seek(timestamp, stream=self.container.streams.video[0])
        self.frames, self.last = self._decode(), None

    def scan(self, timestamp: int) -> Any:
        """The frame at this timestamp, decoding on from here; None when it does not come."""
        self.target = timestamp
        for frame in self.frames:
            if frame.pts is None:
                continue
            self.last = frame.pts
            if frame.pts >= timestamp:
                return frame if frame.pts == timestamp else None
        return None

    def _decode(self) -> Iterator[Any]:
        from av.error import InvalidDataError

        context = self.container.streams.video[0].codec_context
        skips = context.name in _SKIPS
        for packet in self.container.demux(video=0):
            if skips:
                unwanted = packet.pts is not None and packet.pts < self.target
                context.skip_frame = "NONREF" if unwanted else "DEFAULT"
            try:
                yield from packet.decode()
            except InvalidDataError:
                continue  # a damaged packet: the frames that need it do not come, and whoever asks for them is told


@dataclass(eq=False)
class FileReader:
    """Random access to a file's frames. Holds their timestamps, 8 bytes a frame, and one open decoder a process.

    `pts[i]` is the timestamp of the i-th frame shown; `keys`, sorted, are those at which decoding can start.
    """

    path: str
    pts: np.ndarray
    keys: np.ndarray
    fps: float
    size: tuple[int, int] = (0, 0)
    _decoder: Decoder | None = field(default=None, repr=False)
    _pid: int = field(default=0, repr=False)
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    @staticmethod
    def open(path: str) -> "FileReader":
        """Reads the file's packets, without decoding them, and then its first frame; VideoError when it cannot."""
        import av
        from av.error import FFmpegError

        try:
            with av.open(path) as container:
                if not container.streams.video:
                    raise VideoError(f"{path}: expected a video, found no video stream in it")
                stream = container.streams.video[0]
                pts, keys, cut = _index(path, container, stream)
                fps = _rate(pts, float(stream.time_base or 1), float(stream.average_rate or 0))
        except (FFmpegError, OSError) as error:
            if isinstance(error, VideoError):
                raise
            raise VideoError(f"{path}: expected a video file that FFmpeg can read: {error}") from error
        reader = FileReader(path, pts, keys, fps)
        reader.size = reader._image(0).shape[:2]
        if cut:
            reader._drop_tail()
        return reader

    def __len__(self) -> int:
        return len(self.pts)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_decoder", "_pid", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _decoder=None, _pid=0, _lock=threading.Lock())

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        """uint8[t h w 3]: each frame asked for is decoded once, in the order of the file."""
        self._after_fork()
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
        if frame is None:
            raise VideoError(
                f"{self.path}: short read, frame {index} of {len(self)} cannot be decoded: the file is damaged or its "
                "timestamps are wrong; convert it with ffmpeg first"
            )
        image = frame.to_ndarray(format="rgb24")
        turns = round(frame.rotation / 90) % 4  # counter-clockwise
        return np.ascontiguousarray(np.rot90(image, turns)) if turns else image

    def _find(self, index: int) -> Any:
        """The decoded frame: reads on when it is near, else seeks, further back each time that it does not come."""
        target = int(self.pts[index])
        starts = self.keys[: np.searchsorted(self.keys, target, side="right")]
        if self._decoder is None:
            self._decoder = Decoder.open(self.path)
        last = self._decoder.last
        if last is not None and last < target:
            near = index - np.searchsorted(self.pts, last) <= NEAR
            if near or starts[-1] <= last:
                frame = self._decoder.scan(target)
                if frame is not None:
                    return frame
        for back in (1, 2, 4):
            if back <= len(starts):
                self._decoder.seek(int(starts[-back]))
                frame = self._decoder.scan(target)
                if frame is not None:
                    return frame
        self._decoder = Decoder.open(self.path)  # from the very start: what no seek may reach
        return self._decoder.scan(target)

    def _drop_tail(self) -> None:
        """Leaves out the last frames of a file that was cut, which need packets that are gone, and says so."""
        while len(self) > 1 and self._find(len(self) - 1) is None:
            self.pts = self.pts[:-1]
        told = f"{self.path}: the file was cut short; its first {len(self)} frames are used"
        warnings.warn(told, RevsegWarning, stacklevel=4)

    def _after_fork(self) -> None:
        """A forked process opens the file anew; the parent's decoder is kept, since its threads are not here to end."""
        if self._pid != os.getpid():
            if self._decoder is not None and self._pid:
                _INHERITED.append(self._decoder)
                self._decoder = None
            self._lock, self._pid = threading.Lock(), os.getpid()


_INHERITED: list[Decoder] = []


def _index(path: str, container: Any, stream: Any) -> tuple[np.ndarray, np.ndarray, bool]:
    """Timestamps of the frames that are shown, sorted; of the key frames; and whether the file was cut short."""
    packets = [(p.pts, p.is_keyframe, p.is_discard, p.is_corrupt) for p in container.demux(stream) if p.size]
    if not packets:
        raise VideoError(f"{path}: expected a video, found one without frames")
    if any(pts is None for pts, *_ in packets):
        raise VideoError(f"{path}: expected a video with timestamps; wrap it first: ffmpeg -i IN -c copy OUT.mp4")
    trimmed = any(discard for _, _, discard, _ in packets)  # by an edit list, which counts other frames
    cut = packets[-1][3] or (stream.frames > len(packets) and not trimmed)
    while len(packets) > 1 and packets[-1][3]:
        packets.pop()
    keys = np.array(sorted({pts for pts, key, *_ in packets if key}), np.int64)
    shown = np.array(sorted({pts for pts, _, discard, _ in packets if not discard}), np.int64)
    if len(keys):
        shown = shown[shown >= keys[0]]  # what comes before the first key frame has nothing to be decoded from
    if not len(shown):
        raise VideoError(f"{path}: expected a video, found one without frames that can be shown")
    return shown, keys if len(keys) else shown[:1], cut


def _rate(pts: np.ndarray, time_base: float, declared: float) -> float:
    """Frames a second: what the timestamps say, or the file's own number where it agrees within a percent."""
    if len(pts) < 2:
        return declared or 1.0
    measured = (len(pts) - 1) / (float(pts[-1] - pts[0]) * time_base)
    return declared if abs(declared - measured) <= 0.01 * measured else measured
