"""One open video file as a stream of decoded frames, and a decoded frame as the picture that a player shows."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import UInt8

from revseg.errors import VideoError

_SKIPS = ("h264", "hevc")  # decoders that know a frame on which no other rests before they decode it
_LISTS = ("hls", "dash", "concat", "sdp", "rtsp", "imf")  # formats that name other files: no videos of their own
_TRIES = 1000  # times in a row
_STRETCH = 5.0  # a pixel more than this many times as wide as high, or the reverse, is a wrong number in the file


def open_container(path: str) -> Any:
    """The file, opened by FFmpeg: a name is never read as an address, nor a text in the file as other than UTF-8."""
    import av

    container = av.open(f"file:{path}", metadata_errors="replace")
    if container.format.name.split(",")[0] in _LISTS:
        container.close()
        raise VideoError(f"{path}: expected a video, found a list of other files; open one of these")
    if container.format.name == "webp_pipe" and _is_animated_webp(path):
        container.close()
        raise VideoError(
            f"{path}: expected a video, found an animated WebP, which FFmpeg cannot decode; save it as an MP4 or GIF, "
            "or its frames as PNG files in a folder, first"
        )
    return container


def _is_animated_webp(path: str) -> bool:
    with open(path, "rb") as file:
        head = file.read(21)
    return head[12:16] == b"VP8X" and bool(head[20] & 2)


def video_stream(path: str, container: Any) -> Any:
    """The first video stream that is no cover picture; VideoError when there is none, or none that can be decoded."""
    from av.stream import Disposition

    pictures = Disposition.attached_pic | Disposition.timed_thumbnails
    found = [stream for stream in container.streams.video if not stream.disposition & pictures]
    if not found and container.streams.video:
        raise VideoError(
            f"{path}: expected a video, found sound with a cover picture; save the picture as a file and open that"
        )
    if not found:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise VideoError(f"{path}: expected a video, found no video stream in it ({kinds} only)")
    stream = min(found, key=lambda stream: stream.frames == 1)  # an animated AVIF's first stream is one still
    if stream.codec_context is None:
        raise VideoError(f"{path}: this FFmpeg has no decoder for the video's codec; convert it to H.264 first")
    return stream


def demux(container: Any, stream: Any) -> Iterator[Any]:
    """The stream's packets; ends with one of size 0 at the file's end, with None where it cannot be read on."""
    from av.error import BlockingIOError, FFmpegError

    tries = 0
    while tries < _TRIES:
        try:
            for packet in container.demux(stream):
                tries = 0
                yield packet
            return
        except BlockingIOError:  # FFmpeg passed over something, and wants to be asked again
            tries += 1
        except (FFmpegError, IndexError, ValueError):  # the last two: of PyAV's, for a list of streams that is damaged
            break
    yield None


@dataclass(eq=False)
class Progress:
    """What a stream of frames is told, and tells."""

    target: float = -math.inf  # frames before it are not wanted: those on which no other rests are not decoded
    failures: int = 0  # packets that could not be decoded


@dataclass(eq=False)
class Decoder:
    """A file's frames one by one, from its start or from where it was moved."""

    container: Any
    stream: Any
    frames: Iterator[Any] = field(default_factory=lambda: iter(()))
    shown: int = 0  # how many came out since the start; without meaning after a seek
    last: int | None = None  # timestamp of the frame that came out last; None when just moved
    moved: bool = False  # by a seek: what comes may lack frames that it rests on
    progress: Progress = field(default_factory=Progress)
    matrices: dict[int, tuple[int, int, int, int]] = field(default_factory=dict)  # of display, by the angle

    @staticmethod
    def open(path: str, *, threads: bool = True) -> "Decoder":
        container = open_container(path)
        stream = video_stream(path, container)
        if threads:
            stream.thread_type = "AUTO"
        else:
            stream.codec_context.thread_count = 1
        decoder = Decoder(container, stream)
        decoder.frames = decoder._decode()
        return decoder

    def seek(self, timestamp: int) -> None:
        """To a place from which the frame at this timestamp should decode; containers differ in how exact they are."""
        self.container.seek(timestamp, stream=self.stream)
        self.frames, self.last, self.moved = self._decode(), None, True

    def scan(self, timestamp: int) -> Any:
        """The frame at this timestamp, decoding on from here; None when it does not come, or not whole."""
        self.progress.target = timestamp
        for frame in self.frames:
            if frame.pts is None:
                continue
            self.last = frame.pts
            if frame.pts >= timestamp:
                return frame if frame.pts == timestamp and not (self.moved and frame.is_corrupt) else None
        return None

    def count_to(self, index: int) -> Any:
        """The frame that is shown as number `index`, which must not have come out yet; None when the file ends."""
        for frame in self.frames:
            self.shown += 1
            if self.shown > index:
                return frame
        return None

    def picture(self, frame: Any) -> UInt8[np.ndarray, "h w 3"]:
        """The frame as RGB with square pixels, turned and mirrored as the file's display matrix asks."""
        width = display_width(self.stream, frame.width)
        image = frame.reformat(width=width, height=frame.height, format="rgb24").to_ndarray()
        if frame.rotation not in self.matrices:
            self.matrices[frame.rotation] = _matrix(frame)
        a, b, c, d = self.matrices[frame.rotation]
        if abs(b) + abs(c) > abs(a) + abs(d):  # x' = c y, y' = b x
            image, a, d = image.swapaxes(0, 1), c, b
        return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])

    def _decode(self) -> Iterator[Any]:
        return _decoded(self.container, self.stream, self.progress)  # without self: a ring would keep the file open


def _decoded(container: Any, stream: Any, progress: Progress) -> Iterator[Any]:
    from av.error import EOFError, InvalidDataError

    context = stream.codec_context
    skips = context.name in _SKIPS
    parts = container.format.name != "mpegts"  # there the mark means that something before the packet is missing
    for packet in demux(container, stream):
        if parts and packet is not None and packet.is_corrupt:
            continue  # the file ends in the middle of it
        if skips and packet is not None:
            unwanted = packet.pts is not None and packet.pts < progress.target
            context.skip_frame = "NONREF" if unwanted else "DEFAULT"
        try:
            yield from stream.decode(packet)
        except InvalidDataError:
            progress.failures += 1  # the frames that need it do not come, and whoever asks for them is told
        except EOFError:
            return


def display_width(stream: Any, width: int) -> int:
    """The width at which stored pixels that are not square are shown: as players do, the height is kept.

    Shapes within a percent of a square, unknown ones and absurd ones are taken for squares.
    """
    ratio = float(stream.sample_aspect_ratio or 1)
    plausible = 1 / _STRETCH <= ratio <= _STRETCH and abs(ratio - 1) > 0.01
    return max(1, round(width * ratio)) if plausible else width


def _matrix(frame: Any) -> tuple[int, int, int, int]:
    """(a, b, c, d) of the frame's display matrix: x' = a x + c y, y' = b x + d y; the identity when it has none.

    Reads it from a small copy: PyAV ties a frame whose side data was looked at to itself, until the garbage collector
    comes, which must not find a frame of the decoder's (in a forked process it waits for threads that are not there).
    """
    try:
        small = frame.reformat(width=16, height=16, format="gray")
        data = next((bytes(s) for s in small.side_data if s.type.name == "DISPLAYMATRIX"), None)
    except ValueError:  # PyAV does not know the name of another kind of side data on the frame
        turns = round(frame.rotation / 90) % 4  # counter-clockwise
        return ((1, 0, 0, 1), (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0))[turns]
    if data is None:
        return 1, 0, 0, 1
    values = np.frombuffer(data, np.int32).tolist()
    return values[0], values[1], values[3], values[4]
