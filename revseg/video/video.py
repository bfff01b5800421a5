"""A file, a folder of frames or an array as a `Video`: lazy, so that its length never decides the memory."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from revseg.errors import InputError, VideoError
from revseg.untrusted.reading import well_formed

FOLDER_FPS = 24.0  # frames a second of folders and arrays that come without a rate: DAVIS's and the cinema's
PICTURES = (".jpg", ".jpeg", ".png")
CHUNK_BYTES = 64 << 20  # of decoded frames that `stream` holds at a time


@dataclass(frozen=True, eq=False)
class Video:
    """A source of frames, read lazily: nothing is decoded but what is asked for.

    `reader` maps int64[t] valid indices to uint8[t h w 3] RGB frames in that order; anything that can do so is a video.
    A video from `open` can be pickled and read in several processes at once: each opens the file for itself.
    """

    id: str
    size: tuple[int, int]  # (height, width), as displayed
    fps: float  # of a variable-rate file: the average
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

    @staticmethod
    def open(source: "str | Path | np.ndarray | Video", *, fps: float | None = None, backend: str = "av") -> "Video":
        """A video file, a picture, a folder of numbered JPEG or PNG frames, or an array uint8[t h w 3] (RGB).

        Frame i of a file is the i-th one shown, turned and mirrored as its metadata asks. Pixels that are not square
        are made so, as players do: a PAL DVD's 720x576 at 16:9 becomes 1024x576, and masks are of that size; OpenCV
        and decord give the stored 720x576. Interlaced frames stay as they are stored. Files that do not say when each
        frame is shown, such as AVI, are decoded once to count their frames (`revseg.video.file`).

        A folder's frames are taken in the order of the numbers in their names, so that 9.jpg comes before 10.jpg; index
        i is the i-th file, whatever its number. Other pictures in the folder, such as masks, are an error.
        `fps` overrides the rate, which folders and arrays do not know: 24 unless given. `backend` decodes files: "av"
        (frame-exact on every file that was tried) or "decord" (what most of the field reads with; exact where groups
        of pictures are closed).

        Raises VideoError, naming the source, for what is missing, empty, or cannot be read as a video; InputError for
        an array of another shape or type.
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
class ArrayReader:
    """Frames that are already in memory, uint8[t h w 3]."""

    frames: np.ndarray

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        return self.frames[indices]


@dataclass(frozen=True, eq=False)
class FolderReader:
    """Picture files, one a frame, read when asked for."""

    paths: tuple[Path, ...]
    size: tuple[int, int]

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        frames = np.empty((len(indices), *self.size, 3), np.uint8)
        for slot, index in enumerate(indices):
            picture = read_picture(self.paths[index])
            if picture.shape[:2] != self.size:
                (h, w), (height, width) = picture.shape[:2], self.size
                raise VideoError(
                    f"{self.paths[index]}: expected {width}x{height} as the folder's first frame, got {w}x{h}"
                )
            frames[slot] = picture
        return frames


def read_picture(path: str | Path) -> UInt8[np.ndarray, "h w 3"]:
    """A picture file as uint8[h w 3], RGB, upright (EXIF orientation applied); transparency is dropped.

    Raises VideoError naming the file when it cannot be read or holds more than 8 bits a channel.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as picture:
            if getattr(picture, "n_frames", 1) > 1 and picture.format != "MPO":  # of a phone: views of one moment
                raise VideoError(f"{path}: expected a picture, found an animation; open the file itself as a video")
            if picture.mode.startswith(("I", "F")):
                raise VideoError(f"{path}: expected a picture of 8 bits a channel, got mode {picture.mode}")
            return np.array(ImageOps.exif_transpose(picture).convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, VideoError):
            raise
        raise VideoError(f"{path}: expected a readable JPEG or PNG picture: {error}") from error


def _open_array(frames: np.ndarray, fps: float) -> Video:
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
        raise InputError(f"expected frames as a non-empty array uint8[t h w 3], got {frames.dtype}{list(frames.shape)}")
    return Video("array", frames.shape[1:3], fps, len(frames), ArrayReader(frames))


def _open_folder(folder: Path, fps: float) -> Video:
    paths = frame_paths(folder)
    height, width, _ = read_picture(paths[0]).shape
    return Video(
        well_formed(folder.resolve().name), (height, width), fps, len(paths), FolderReader(paths, (height, width))
    )


def picture_files(folder: Path) -> list[Path]:
    """The folder's JPEG and PNG files, sorted by name, without hidden ones."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURES and not p.name.startswith("."))


def same_name(paths: Sequence[Path]) -> tuple[Path, Path] | None:
    """Two files that differ in their suffix alone, such as a frame and its mask: no one can tell which is the frame."""
    seen: dict[str, Path] = {}
    for path in paths:
        other = seen.setdefault(path.stem, path)
        if other is not path:
            return other, path
    return None


def frame_paths(folder: Path) -> tuple[Path, ...]:
    """The folder's frames in the order of the numbers in their names.

    VideoError when there are none, when the pictures are of two kinds or named in two ways, or a number comes twice:
    then other pictures lie among the frames (masks, thumbnails, another video), and the order would be a guess.
    """
    found = sorted(picture_files(folder), key=_natural)
    if not found:
        raise VideoError(f"{folder}: expected a folder of numbered frames such as 00000.jpg or 00000.png, found none")
    for path, other in pairwise(found):
        if _natural(path)[0] == _natural(other)[0]:
            what = "two frames of one number"
        elif _kind(path) != _kind(other):
            what = "frames of two kinds"
        elif _pattern(path) != _pattern(other):
            what = "pictures that are named in two ways"
        else:
            continue
        raise VideoError(
            f"{folder}: expected the numbered frames of one video, found {what}, {path.name} and {other.name}; "
            "move masks, thumbnails and other pictures to a folder of their own"
        )
    return tuple(found)


def _natural(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """Runs of digits compare as numbers; the name itself breaks ties such as 1.png and 01.png."""
    parts = re.findall(r"[0-9]+|[^0-9]+", path.stem.lower())
    return [(0, int(p), "") if p[0] in "0123456789" else (1, 0, p) for p in parts], path.name


def _pattern(path: Path) -> str:
    """The name without its numbers."""
    return re.sub(r"[0-9]+", "0", path.stem.lower())


def _kind(path: Path) -> str:
    return path.suffix.lower().replace("jpeg", "jpg")
