"""A file, a folder of frames or an array as a `Video`, read lazily so that memory does not grow with its length."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from revseg.errors import InputError, VideoError
from revseg.untrusted.reading import well_formed
from revseg.video.folder import FolderReader

FOLDER_FPS = 24.0  # fps of folders and arrays, which have no rate: that of DAVIS and of cinema
CHUNK_BYTES = 64 << 20  # of decoded frames that `stream` holds at a time


@dataclass(frozen=True, eq=False)
class Video:
    """A source of frames, which are decoded only when they are read.

    `reader` is any function from valid indices int64[t] to RGB frames uint8[t h w 3] in that order. A video from `open`
    can be pickled, and read in several processes at once; each opens the file for itself.
    """

    id: str
    size: tuple[int, int]  # (height, width), as displayed
    fps: float  # the average for files of variable rate
    length: int
    reader: Callable[[np.ndarray], np.ndarray]

    def __len__(self) -> int:
        return self.length

    def __repr__(self) -> str:
        h, w = self.size
        return f"Video({self.id!r}, {self.length} frames of {w}x{h} at {self.fps:.4g} fps)"

    def read(self, indices: Sequence[int] | np.ndarray) -> UInt8[np.ndarray, "t h w 3"]:
        """uint8[t h w 3], RGB, in the order asked; repeats are allowed.

        Raises InputError for an index outside 0..len-1 and VideoError on a broken or short read.
        """
        asked = np.asarray(indices)
        if asked.size == 0:
            return np.zeros((0, *self.size, 3), np.uint8)
        if asked.ndim != 1 or asked.dtype.kind not in "iu":
            raise InputError(f"expected frame indices as a list of integers, got {indices!r}")
        outside = asked[(asked < 0) | (asked >= self.length)]
        if len(outside):
            raise InputError(f"{self.id}: expected frame indices in 0..{self.length - 1}, got {outside[:5].tolist()}")
        frames = self.reader(asked.astype(np.int64))
        expected = (len(asked), *self.size, 3)
        if frames.shape != expected or frames.dtype != np.uint8:
            raise VideoError(
                f"{self.id}: short read, expected uint8{list(expected)}, got {frames.dtype}{list(frames.shape)}"
            )
        return frames

    def stream(
        self, indices: Sequence[int] | np.ndarray | None = None, *, chunk: int | None = None
    ) -> Iterator[tuple[int, np.ndarray]]:
        """(index, uint8[h w 3]) one by one in the order asked, all frames by default.

        `chunk` frames are decoded at a time, by default at most 32 and 64 MB of them. Each chunk is read forward, also
        where the order is backward, since decoders that seek for every frame are slow. Backwards from frame k:
        `video.stream(range(k, -1, -1))`.
        """
        if chunk is not None and chunk < 1:
            raise InputError(f"expected a chunk of at least 1 frame, got {chunk}")
        height, width = self.size
        chunk = chunk or max(1, min(32, CHUNK_BYTES // (height * width * 3)))
        asked = range(self.length) if indices is None else indices
        for start in range(0, len(asked), chunk):
            part = [int(i) for i in asked[start : start + chunk]]
            order = sorted(set(part))
            frames = dict(zip(order, self.read(order), strict=True))
            yield from ((index, frames[index]) for index in part)

    def window(self, first: int, end: int) -> "Video":
        """Frames [first, end) as a video of its own, just as lazy: its frame 0 is this video's frame `first`.

        Any sampler works inside one. A clip of the window for a conversation about this video has to count this video:
        `Clip(clip.frames, clip.frame_ids + first)`. InputError unless `0 <= first < end <= len(video)`.
        """
        if not 0 <= first < end <= self.length:
            raise InputError(
                f"{self.id}: expected a window [first, end) of frames in 0..{self.length}, got [{first}, {end})"
            )
        return replace(self, length=end - first, reader=WindowReader(self.reader, first))

    @staticmethod
    def open(source: "str | Path | np.ndarray | Video", *, fps: float | None = None, backend: str = "av") -> "Video":
        """A video file, a picture, a folder of numbered JPEG or PNG frames, or an array uint8[t h w 3] (RGB).

        Frame i of a file is the i-th in display order, rotated and mirrored as the metadata says. Non-square pixels are
        made square, as players do: a PAL DVD's 720x576 at 16:9 becomes 1024x576, and masks have that size; OpenCV and
        decord give the stored 720x576. Interlaced frames are not changed. Files without reliable timestamps, such as
        AVI, are decoded once to count their frames (`revseg.video.file`).

        A folder's frames are sorted by the numbers in their names, so that 9.jpg comes before 10.jpg; index i is the
        i-th file, whatever its number. Other pictures in the folder, such as masks, are an error.
        `fps` overrides the file's rate, and the 24 of folders and arrays. `backend` decodes files: "av" (frame-exact
        on every file tried) or "decord" (what most of the field reads with; frame-exact where groups of pictures are
        closed).

        Raises VideoError, naming the source, when it is missing, empty or not a readable video; InputError for an array
        of another shape or type.
        """
        if backend not in ("av", "decord"):
            raise InputError(f'expected backend "av" or "decord", got {backend!r}')
        if fps is not None and not 0 < fps < float("inf"):
            raise InputError(f"expected fps above 0, got {fps}")
        if isinstance(source, Video):
            return source if fps is None else Video(source.id, source.size, fps, source.length, source.reader)
        if isinstance(source, np.ndarray):
            return _open_array(source, fps or FOLDER_FPS)
        if str(source).startswith(("http://", "https://")):
            raise VideoError(f"{source}: expected a file or a folder on this machine: download the video first")
        path = Path(source)
        if path.is_dir():
            return _open_folder(path, fps or FOLDER_FPS)
        if not path.is_file():
            raise VideoError(f"{path}: no such file or folder; expected a video file or a folder of JPEG or PNG frames")
        reader = _file_reader(str(path), backend)
        return Video(well_formed(path.stem), reader.size, fps or reader.fps, len(reader), reader)


def _file_reader(path: str, backend: str) -> Any:
    if backend == "decord":
        from revseg.video.decord_reader import DecordReader

        return DecordReader(path)
    from revseg.video.file import FileReader

    return FileReader.open(path)


@dataclass(frozen=True, eq=False)
class WindowReader:
    """Another reader's frames from `first` on."""

    reader: Callable[[np.ndarray], np.ndarray]
    first: int

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        return self.reader(indices + self.first)


@dataclass(frozen=True, eq=False)
class ArrayReader:
    """Frames that are already in memory, uint8[t h w 3]."""

    frames: np.ndarray

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        return self.frames[indices]


def _open_array(frames: np.ndarray, fps: float) -> Video:
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
        raise InputError(f"expected frames as a non-empty array uint8[t h w 3], got {frames.dtype}{list(frames.shape)}")
    return Video("array", frames.shape[1:3], fps, len(frames), ArrayReader(frames))


def _open_folder(folder: Path, fps: float) -> Video:
    reader = FolderReader.open(folder)
    return Video(well_formed(folder.resolve().name), reader.size, fps, len(reader.paths), reader)
