"""Masks as the benchmarks store them: palette and binary PNGs, and `mask_dict.json` of COCO codes with nulls."""

import json
import mmap
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from revseg.datasets.layout import frame_files, inside
from revseg.errors import InputError
from revseg.masks import MaskTrack, coco, encode
from revseg.masks.rle import brief, checked_code, checked_size

TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[{]|[\]}]', re.DOTALL)


def read_labels(path: Path) -> np.ndarray:
    """uint8[h w]: the stored values, a palette's indices and not its colours.

    InputError for a colour picture, and for anything but a PNG whatever its name: JPEG's noise around an edge would
    be taken for the object.
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            if picture.format != "PNG":
                raise InputError(
                    f"{path}: expected a PNG mask, got {picture.format}, whose compression changes values: save the "
                    "masks as PNG again from where they were made"
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
    """One object for each of `values`: the pixels of that value, or all that are not 0 for None.

    A frame without a file is left out (it is not annotated), or is empty and of size `absent` where that is given.
    InputError, naming the file, for masks of several sizes; with `clean` also for one that holds 255 beside other
    values, where None asks for all that are not 0: an edge that was smoothed, or the mark of pixels to ignore.
    """
    files = frame_files(folder)
    shown = [i for i, frame in enumerate(frames) if absent is not None or frame in files]
    rows: list[list[bytes]] = [[] for _ in values]
    size = absent
    for index in shown:
        path = files.get(frames[index])
        labels = read_labels(path) if path else np.zeros(absent or (1, 1), np.uint8)
        if clean and path and None in values and (odd := smoothed(labels)):
            raise InputError(
                f"{path}: expected 0 and one other value, got 255 beside {odd}: smoothed edges or pixels to ignore; "
                'make the mask 0 and 255, or name the object\'s value with "object"'
            )
        if size is not None and labels.shape != size:
            (h, w), (height, width) = labels.shape, size
            raise InputError(f"{path}: expected a mask of {width}x{height} as the others, got {w}x{h}")
        size = labels.shape
        for row, value in zip(rows, values, strict=True):
            row.append(encode(labels != 0 if value is None else labels == value))
    if size is None:
        raise InputError(f"{folder}: expected PNG masks named as the frames, such as {frames[0]}.png; found none")
    return MaskTrack(tuple(map(tuple, rows)), size, np.asarray(shown, np.int64))


def smoothed(labels: np.ndarray) -> str:
    """The values of a mask that are neither 0 nor 255, as text, when there is 255 too; else ""."""
    values = np.unique(labels).tolist()
    between = [value for value in values if value not in (0, 255)]
    return ", ".join(map(str, between[:5])) + ", ..." * (len(between) > 5) if 255 in values else ""


def odd_values(folder: Path) -> list[str]:
    """A sentence when a folder's first mask holds values other than 0 and 255, which scorers take for the object."""
    for path in list(frame_files(folder).values())[:1]:
        odd = sorted(set(np.unique(read_labels(path)).tolist()) - {0, 255})
        if odd:
            return [f"{path}: expected the values 0 and 255, got {odd[:5]}"]
    return []


def palette_track(folder: Path, frames: Sequence[str], value: Any) -> MaskTrack:
    """The object whose pixels hold `value` (a number, or text such as "1"). Frames without a file are out."""
    return png_track(folder, frames, [object_number(value, folder)])


def object_number(value: Any, where: Path, largest: int = 255) -> int:
    """An object id such as "3" as a number. InputError for anything but 1..largest."""
    if not re.fullmatch(r"[0-9]{1,3}", str(value)) or not 0 < int(value) <= largest:
        raise InputError(f"{where}: expected an object id in 1..{largest}, got {value!r}")
    return int(value)


@dataclass(frozen=True)
class MaskDict:
    """A `mask_dict.json`: id to one COCO code or null per frame. Reads only the entry that is asked for.

    The first use notes where in the file each entry lies; these files are too large to be held.
    """

    path: Path

    @cached_property
    def spans(self) -> dict[str, tuple[int, int]]:
        """Where the value of each top-level key lies in the file, in bytes."""
        if not self.path.is_file() or self.path.stat().st_size == 0:
            raise InputError(f"{self.path}: expected the masks as JSON; the file is missing or empty")
        with self.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            spans, depth, start, key = {}, 0, 0, b""
            for token in TOKEN.finditer(data):
                first = data[token.start()]
                if first in b"[{":
                    depth += 1
                    start = token.start() if depth == 2 else start
                elif first in b"]}":
                    depth -= 1
                    if depth == 1:
                        spans[json.loads(key)] = (start, token.end())
                elif depth == 1:
                    key = token.group()
            if depth != 0:
                raise InputError(f"{self.path}: expected the masks as JSON; the file ends too early")
        return spans

    def __contains__(self, key: str) -> bool:
        return key in self.spans

    def entry(self, key: str) -> Any:
        """The value of one key. InputError when it is not there."""
        if key not in self.spans:
            raise InputError(f"{self.path}: expected masks under the id {key!r}; there are {len(self.spans)} other ids")
        start, end = self.spans[key]
        with self.path.open("rb") as file:
            file.seek(start)
            try:
                return json.loads(file.read(end - start))
            except ValueError as error:
                raise InputError(f"{self.path}: the masks of {key!r} are no JSON: {error}") from error

    def track(self, keys: Sequence[str], length: int, size: tuple[int, int]) -> MaskTrack:
        """One object a key, on frames 0..length-1; null is an empty mask. `size` is for tracks of nothing but nulls.

        Of a list that is longer than the video the first masks count, as in the official scripts.
        """
        entries = [(f"{self.path}: {key}", self.entry(key)) for key in keys]
        entries = [(where, row[:length] if isinstance(row, list) else row) for where, row in entries]
        return rle_track(entries, length, size)


def rle_track(rows: Sequence[tuple[str, Any]], length: int, size: tuple[int, int]) -> MaskTrack:
    """(where it was read, one COCO code or null per frame) for each object as a track; where goes into errors.

    No row at all gives one empty row: the target is not there. InputError for another length or several sizes.
    """
    for where, row in rows:
        if not isinstance(row, list) or len(row) != length:
            got = f"{len(row)} entries" if isinstance(row, list) else type(row).__name__
            raise InputError(f"{where}: expected one mask or null for each of the {length} frames, got {got}")
    read = [
        [rle_counts(one, f"{where}, frame {i}") if one not in (None, []) else None for i, one in enumerate(row)]
        for where, row in rows
    ]
    sizes = {found[0] for row in read for found in row if found}
    if len(sizes) > 1:
        raise InputError(f"{rows[0][0]}: expected masks of one size, got {sorted(sizes)}")
    size = sizes.pop() if sizes else size
    nothing = encode(np.zeros(size, bool))
    counts = tuple(tuple(found[1] if found else nothing for found in row) for row in read)
    return MaskTrack(counts or ((nothing,) * length,), size, np.arange(length))


def rle_counts(code: Any, where: str) -> tuple[tuple[int, int], bytes]:
    """((height, width), compressed counts) of one COCO code; several codes in a list are joined.

    InputError for what is no code, and for counts that do not fill the picture, which pycocotools would not notice.
    """
    if isinstance(code, list) and code:
        found = [_one_code(one, where) for one in code]
        if any(size != found[0][0] for size, _ in found):
            raise InputError(f"{where}: expected codes of one size, got {sorted({size for size, _ in found})}")
        merged = coco.merge([{"size": list(size), "counts": counts} for size, counts in found])
        return found[0][0], merged["counts"]
    return _one_code(code, where)


def _one_code(code: Any, where: str) -> tuple[tuple[int, int], bytes]:
    if not isinstance(code, Mapping) or not {"size", "counts"} <= set(code):
        raise InputError(f'{where}: expected {{"size": [h, w], "counts": ...}} or null, got {brief(code)}')
    size = checked_size(code["size"], f"{where}, size")
    return size, checked_code(code["counts"], size, where)


def masks_folder(root: Path, *names: Any) -> Path:
    """The folder of an item's PNG masks; InputError when it is missing: absent files may mean empty, a folder not."""
    folder = inside(root, *names)
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder of PNG masks; there is none")
    return folder


def as_list(value: Any) -> list[Any]:
    """Ids that may come as one or as a list; None for none."""
    if value is None:
        return []
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]


def texts(value: Any) -> list[str]:
    """`as_list` as text: the keys of JSON objects are text."""
    return [str(one) for one in as_list(value)]


def plain(fields: Mapping[str, Any], *leave: str) -> dict[str, Any]:
    """The fields but those named."""
    return {key: value for key, value in fields.items() if key not in leave}
