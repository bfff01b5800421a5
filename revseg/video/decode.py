"""An open video file as a stream of decoded frames, and a decoded frame as the picture that a player shows."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import UInt8

from revseg.errors import VideoError

_SKIPS = ("h264", "hevc")  # decoders that can skip frames which no other frame refers to
_LISTS = ("hls", "dash", "concat", "sdp", "rtsp", "imf")  # formats that only refer to other files
_TRIES = 1000  # consecutive attempts to read on
_STRETCH = 5.0  # larger pixel aspect ratios (or their inverse) are taken for damage


def open_container(path: str) -> Any:
    """The file, opened by FFmpeg. The name is never read as a URL, and broken text in the metadata is replaced."""
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
    """The first video stream that is not a cover picture; VideoError when there is none that can be decoded."""
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
    """The stream's packets. The last one has size 0 at the end of the file, and is None where reading fails."""
    from av.error import BlockingIOError, FFmpegError

    tries = 0
    while tries < _TRIES:
        try:
            for packet in container.demux(stream):
                tries = 0
                yield packet
            return
        except BlockingIOError:  # FFmpeg skipped something and can go on
            tries += 1
        except (FFmpegError, IndexError, ValueError):  # PyAV raises the last two for a damaged list of streams
            break
    yield None


@dataclass(eq=False)
class Progress:
    """State shared between a decoder and its generator of frames."""

    target: float = -math.inf  # timestamp; frames before it are decoded only when others refer to them
    failures: int = 0  # packets that could not be decoded


@dataclass(eq=False)
class Decoder:
    """A file's frames one by one, from its start or from where it was sought."""

    container: Any
    stream: Any
    frames: Iterator[Any] = field(default_factory=lambda: iter(()))
    shown: int = 0  # frames given since the start; meaningless after a seek
    last: int | None = None  # timestamp of the last frame given; None after a seek
    sought: bool = False  # the next frames may refer to frames before the seek
    progress: Progress = field(default_factory=Progress)
    matrices: dict[int, tuple[int, int, int, int]] = field(default_factory=dict)  # of display, by rotation

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
        """Moves to where the frame at this timestamp should be decodable; formats differ in how exact this is."""
        self.container.seek(timestamp, stream=self.stream)
        self.frames, self.last, self.sought = self._decode(), None, True

    def scan(self, timestamp: int) -> Any:
        """The frame at this timestamp, decoding on from here; None when it does not come, or is damaged."""
        self.progress.target = timestamp
        for frame in self.frames:
            if frame.pts is None:
                continue
            self.last = frame.pts
            if frame.pts >= timestamp:
                return frame if frame.pts == timestamp and not (self.sought and frame.is_corrupt) else None
        return None

    def count_to(self, index: int) -> Any:
        """Frame number `index`, which must not have been given yet; None when the file ends before it."""
        for frame in self.frames:
            self.shown += 1
            if self.shown > index:
                return frame
        return None

    def picture(self, frame: Any) -> UInt8[np.ndarray, "h w 3"]:
        """The frame as RGB with square pixels, rotated and mirrored by the file's display matrix."""
        width = display_width(self.stream, frame.width)
        image = frame.reformat(width=width, height=frame.height, format="rgb24").to_ndarray()
        if frame.rotation not in self.matrices:
            self.matrices[frame.rotation] = _matrix(frame)
        a, b, c, d = self.matrices[frame.rotation]
        if abs(b) + abs(c) > abs(a) + abs(d):  # x' = c y, y' = b x
            image, a, d = image.swapaxes(0, 1), c, b
        return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])

    def _decode(self) -> Iterator[Any]:
        # a function, not a method: a reference cycle would keep the file open
        return _decoded(self.container, self.stream, self.progress)


def _decoded(container: Any, stream: Any, progress: Progress) -> Iterator[Any]:
    from av.error import EOFError, InvalidDataError

    context = stream.codec_context
    skips = context.name in _SKIPS
    parts = container.format.name != "mpegts"  # there the mark means that data before the packet is missing
    for packet in demux(container, stream):
        if parts and packet is not None and packet.is_corrupt:
            continue  # truncated
        if skips and packet is not None:
            unwanted = packet.pts is not None and packet.pts < progress.target
            context.skip_frame = "NONREF" if unwanted else "DEFAULT"
        try:
            yield from stream.decode(packet)
        except InvalidDataError:
            progress.failures += 1  # the frames that need it are missing, which the reader reports when asked for them
        except EOFError:
            return


def display_width(stream: Any, width: int) -> int:
    """The width at which frames of non-square pixels are displayed; the height is kept, as players do.

    Pixel aspect ratios within a percent of 1, unknown and absurd ones are taken for 1.
    """
    ratio = float(stream.sample_aspect_ratio or 1)
    plausible = 1 / _STRETCH <= ratio <= _STRETCH and abs(ratio - 1) > 0.01
    return max(1, round(width * ratio)) if plausible else width


def _matrix(frame: Any) -> tuple[int, int, int, int]:
    """(a, b, c, d) of the frame's display matrix: x' = a x + c y, y' = b x + d y; the identity when it has none.

    It is read from a small copy. A frame whose side data was read is in a reference cycle until the garbage collector
    runs, and if that happened to a frame of the decoder in a forked process, it would wait for the parent's threads.
    """
    try:
        small = frame.reformat(width=16, height=16, format="gray")
        data = next((bytes(s) for s in small.side_data if s.type.name == "DISPLAYMATRIX"), None)
    except ValueError:  # the frame has side data of a kind that PyAV does not know
        turns = round(frame.rotation / 90) % 4  # counter-clockwise
        return ((1, 0, 0, 1), (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0))[turns]
    if data is None:
        return 1, 0, 0, 1
    values = np.frombuffer(data, np.int32).tolist()
    return values[0], values[1], values[3], values[4]
