"""Masks stored as COCO run-length codes, and `mask_dict.json`, a file of such codes with nulls."""

import json
import mmap
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from revseg.errors import InputError
from revseg.masks import MaskTrack, coco, encode
from revseg.masks.rle import brief, checked_code, checked_size

TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[{]|[\]}]', re.DOTALL)  # strings, and brackets that open or close


@dataclass(frozen=True)
class MaskDict:
    """A `mask_dict.json`: per id, one COCO code or null per frame.

    These files are too large for memory: the first access indexes where each entry is in the file, and later only the
    entry asked for is read.
    """

    path: Path

    @cached_property
    def spans(self) -> dict[str, tuple[int, int]]:
        """For each top-level key, the first and the last byte (exclusive) of its value in the file."""
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
        """The value of one key. InputError if it does not exist."""
        if key not in self.spans:
            raise InputError(f"{self.path}: expected masks under the id {key!r}; there are {len(self.spans)} other ids")
        start, end = self.spans[key]
        with self.path.open("rb") as file:
            file.seek(start)
            try:
                return json.loads(file.read(end - start))
            except ValueError as error:
                raise InputError(f"{self.path}: the masks of {key!r} are not JSON: {error}") from error

    def track(self, keys: Sequence[str], length: int, size: tuple[int, int]) -> MaskTrack:
        """A track with one object per key, on frames 0..length-1; null is an empty mask.

        `size` is used if all masks are null. Of a list longer than the video the first masks are taken, as in the
        official scripts.
        """
        entries = [(f"{self.path}: {key}", self.entry(key)) for key in keys]
        entries = [(where, row[:length] if isinstance(row, list) else row) for where, row in entries]
        return rle_track(entries, length, size)


def rle_track(rows: Sequence[tuple[str, Any]], length: int, size: tuple[int, int]) -> MaskTrack:
    """A track from one row per object: (source for error messages, one COCO code or null per frame).

    Without any row, the track has one empty row: the target is not in the video. InputError for another length or
    several sizes.
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
    """((height, width), compressed counts) of a COCO code; the union of a list of codes.

    InputError for anything else, and for counts that do not add up to the picture's size, which pycocotools does not
    check.
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
