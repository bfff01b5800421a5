"""Masks stored as PNGs: palette PNGs with one value per object, and binary ones."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from revseg.datasets.layout import frame_files, inside
from revseg.errors import InputError
from revseg.masks import MaskTrack, encode


def masks_folder(root: Path, *names: Any) -> Path:
    """The folder of an item's PNG masks. InputError if it is missing: a missing file can mean an empty mask, a folder
    cannot."""
    folder = inside(root, *names)
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder of PNG masks; there is none")
    return folder


def read_labels(path: Path) -> np.ndarray:
    """uint8[h w]: the stored values; of a palette PNG the indices, not the colours.

    InputError for a colour picture, and for anything but a PNG, whatever its suffix: JPEG artefacts around edges would
    count as object pixels.
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            if picture.format != "PNG":
                raise InputError(
                    f"{path}: expected a PNG mask, got {picture.format}, whose compression changes values: export the "
                    "masks again as PNG"
                )
            if picture.mode not in ("P", "L", "1"):
                raise InputError(f"{path}: expected a palette or grey PNG of one channel, got mode {picture.mode}")
            return np.array(picture, np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: expected a readable PNG mask: {error}") from error


def png_track(
    folder: Path,
    frames: Sequence[str],
    values: Sequence[int | None],
    *,
    absent: tuple[int, int] | None = None,
    clean: bool = False,
) -> MaskTrack:
    """A track with one object per value in `values`: the pixels with that value; for None all pixels that are not 0.

    A frame without a file is left out as not annotated, or has an empty mask of size `absent` if that is given.
    InputError, naming the file, for masks of several sizes. With `clean` and None also for a mask with 255 and other
    values that are not 0: these are antialiased edges, or 255 marks pixels to ignore.
    """
    files = frame_files(folder)
    annotated = [i for i, frame in enumerate(frames) if absent is not None or frame in files]
    rows: list[list[bytes]] = [[] for _ in values]
    size = absent
    for index in annotated:
        path = files.get(frames[index])
        labels = read_labels(path) if path else np.zeros(absent or (1, 1), np.uint8)
        if clean and path and None in values and (odd := _between(labels)):
            raise InputError(
                f"{path}: expected 0 and one other value, got 255 and {odd}: antialiased edges, or pixels to ignore; "
                'write the mask as 0 and 255, or name the object\'s value with "object"'
            )
        if size is not None and labels.shape != size:
            (h, w), (height, width) = labels.shape, size
            raise InputError(f"{path}: expected a mask of {width}x{height} like the others, got {w}x{h}")
        size = labels.shape
        for row, value in zip(rows, values, strict=True):
            row.append(encode(labels != 0 if value is None else labels == value))
    if size is None:
        raise InputError(
            f"{folder}: expected PNG masks with the names of the frames, such as {frames[0]}.png; found none"
        )
    return MaskTrack(tuple(map(tuple, rows)), size, np.asarray(annotated, np.int64))


def _between(labels: np.ndarray) -> str:
    """If a mask contains 255: its values other than 0 and 255, as text; else ""."""
    values = np.unique(labels).tolist()
    between = [value for value in values if value not in (0, 255)]
    return ", ".join(map(str, between[:5])) + ", ..." * (len(between) > 5) if 255 in values else ""


def odd_values(folder: Path) -> list[str]:
    """A sentence if a folder's first mask has values other than 0 and 255, which scorers count as the object."""
    for path in list(frame_files(folder).values())[:1]:
        odd = sorted(set(np.unique(read_labels(path)).tolist()) - {0, 255})
        if odd:
            return [f"{path}: expected the values 0 and 255, got {odd[:5]}"]
    return []


def palette_track(folder: Path, frames: Sequence[str], value: Any) -> MaskTrack:
    """The object whose pixels have `value` (a number, or text such as "1"). Frames without a file are left out."""
    return png_track(folder, frames, [object_number(value, folder)])


def object_number(value: Any, where: Path, largest: int = 255) -> int:
    """An object id such as "3" as a number. InputError for anything but 1..largest."""
    if not re.fullmatch(r"[0-9]{1,3}", str(value)) or not 0 < int(value) <= largest:
        raise InputError(f"{where}: expected an object id in 1..{largest}, got {value!r}")
    return int(value)
