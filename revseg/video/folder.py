"""Folders of numbered pictures as videos."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from revseg.errors import VideoError

PICTURES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True, eq=False)
class FolderReader:
    """Picture files, one per frame, read on demand."""

    paths: tuple[Path, ...]
    size: tuple[int, int]  # of the first picture; others must have the same

    @staticmethod
    def open(folder: Path) -> "FolderReader":
        """The folder's frames in the order of their numbers; errors as for `frame_paths` and `read_picture`."""
        paths = frame_paths(folder)
        return FolderReader(paths, read_picture(paths[0]).shape[:2])

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        frames = np.empty((len(indices), *self.size, 3), np.uint8)
        for row, index in enumerate(indices):
            picture = read_picture(self.paths[index])
            if picture.shape[:2] != self.size:
                (h, w), (height, width) = picture.shape[:2], self.size
                raise VideoError(
                    f"{self.paths[index]}: expected {width}x{height} as the folder's first frame, got {w}x{h}"
                )
            frames[row] = picture
        return frames


def read_picture(path: str | Path) -> UInt8[np.ndarray, "h w 3"]:
    """A picture file as uint8[h w 3], RGB, with EXIF orientation applied and transparency dropped.

    Raises VideoError naming the file when it cannot be read or has more than 8 bits per channel.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as picture:
            if getattr(picture, "n_frames", 1) > 1 and picture.format != "MPO":  # phones store several views
                raise VideoError(f"{path}: expected a picture, found an animation; open the file itself as a video")
            if picture.mode.startswith(("I", "F")):
                raise VideoError(f"{path}: expected a picture of 8 bits per channel, got mode {picture.mode}")
            return np.array(ImageOps.exif_transpose(picture).convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, VideoError):
            raise
        raise VideoError(f"{path}: expected a readable JPEG or PNG picture: {error}") from error


def picture_files(folder: Path) -> list[Path]:
    """The folder's JPEG and PNG files, sorted by name, without hidden ones."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURES and not p.name.startswith("."))


def same_name(paths: Sequence[Path]) -> tuple[Path, Path] | None:
    """The first two files whose names differ only in the suffix, such as a frame and its mask; None without any."""
    seen: dict[str, Path] = {}
    for path in paths:
        other = seen.setdefault(path.stem, path)
        if other is not path:
            return other, path
    return None


def frame_paths(folder: Path) -> tuple[Path, ...]:
    """The folder's frames in the order of the numbers in their names.

    VideoError when there are none, when the pictures have two formats or two naming patterns, or a number occurs twice:
    then other pictures (masks, thumbnails, another video) are among the frames, and the order would be a guess.
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
    """A key that sorts digits as numbers; the name itself breaks ties such as 1.png and 01.png."""
    parts = re.findall(r"[0-9]+|[^0-9]+", path.stem.lower())
    return [(0, int(p), "") if p[0] in "0123456789" else (1, 0, p) for p in parts], path.name


def _pattern(path: Path) -> str:
    """The name without its numbers."""
    return re.sub(r"[0-9]+", "0", path.stem.lower())


def _kind(path: Path) -> str:
    return path.suffix.lower().replace("jpeg", "jpg")
