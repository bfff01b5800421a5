"""COCO run-length codes: decoding, and checks of untrusted codes, so that pycocotools never sees a bad one.

pycocotools' C code does not check its input: runs that do not fill the picture, or a picture of 10^12 pixels, hang or
crash the process.

The format: each character (minus 48) carries six bits, five of a number, lowest first, and one that says whether the
number continues. Numbers are signed; from the fourth of a code on each is the difference from the one two before. They
are the lengths of runs of pixels down the columns, of 0 and 1 in turn, starting with 0.
"""

import numbers
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64
from pycocotools import mask as _coco

from revseg.errors import InputError

MAX_SIDE = 1 << 16
MAX_PIXELS = 1 << 28  # of one picture; 16K video, the largest that codecs know, has 142 million
MAX_CODE = 1 << 26  # characters of one code
MAX_FRAMES = 1 << 24  # of one video: more than a week at 24 fps
_DIGITS = 7  # characters per number: 35 bits, enough for differences of MAX_PIXELS, whose sums fit into int64
_BATCH = 1 << 15  # characters decoded at a time, so that they stay in the processor's cache
coco: Any = _coco  # its type stubs describe neither counts as bytes nor lists of codes


def checked_size(size: Any, where: str = "size") -> tuple[int, int]:
    """(height, width) as integers, checked against the limits above; InputError otherwise."""
    pair = list(size) if isinstance(size, Sequence | np.ndarray) and not isinstance(size, str | bytes) else []
    whole = len(pair) == 2 and all(isinstance(s, numbers.Integral) and not isinstance(s, bool) for s in pair)
    if not whole or not all(0 < s <= MAX_SIDE for s in pair) or pair[0] * pair[1] > MAX_PIXELS:
        raise InputError(
            f"{where}: expected [height, width], each of 1..{MAX_SIDE} and at most {MAX_PIXELS} pixels in all; "
            f"got {brief(size)}"
        )
    return int(pair[0]), int(pair[1])


def checked_codes(codes: Sequence[Any], size: tuple[int, int], where: str = "counts") -> list[bytes]:
    """Valid compressed codes of masks of one size, from codes given as text, bytes or a list of runs.

    Empty runs after the first are merged away, because many of them make pycocotools write past its memory. Each
    distinct code is checked once. InputError, naming the position, for a code that is damaged or of another size.
    """
    return _checked(codes, size, lambda index: f"{where}[{index}]")


def checked_code(code: Any, size: tuple[int, int], where: str) -> bytes:
    """As `checked_codes`, for one code."""
    return _checked([code], size, lambda index: where)[0]


def _checked(codes: Sequence[Any], size: tuple[int, int], where: Callable[[int], str]) -> list[bytes]:
    compressed = [_as_bytes(code, size, where, i) for i, code in enumerate(codes)]
    first = {code: i for i, code in reversed(list(enumerate(compressed)))}
    repaired: dict[bytes, bytes] = {}
    for batch in _batches(list(first)):
        runs, counts = decode_runs(batch)
        bad = _bad_codes(runs, counts, size[0] * size[1])
        if len(bad):
            index, code = min((first[batch[i]], batch[i]) for i in bad.tolist())
            raise _wrong_runs(code.decode("latin-1"), size, where(index))
        stops = np.cumsum(counts)
        empty = np.setdiff1d(np.flatnonzero(runs == 0), stops - counts)
        for i in np.unique(np.searchsorted(stops, empty, "right")).tolist():
            repaired[batch[i]] = _compress(runs[stops[i] - counts[i] : stops[i]], size)
    return [repaired.get(code, code) for code in compressed]


def decode_runs(codes: Sequence[bytes]) -> tuple[Int64[np.ndarray, " r"], Int64[np.ndarray, " c"]]:
    """The runs of all compressed codes in one array, and how many runs each code has. Runs are not checked.

    Characters that form no number give a run of -1 pixels. Whole-array operations only: a results file holds tens of
    millions of these characters.
    """
    text = np.frombuffer(b"".join(codes), np.uint8) - np.uint8(48)
    stops = np.cumsum([len(code) for code in codes], dtype=np.int64)
    last = text < 32
    unended = np.array([stop - 1 for stop in stops.tolist() if stop and not last[stop - 1]], np.int64)
    last[unended] = True
    ends = np.flatnonzero(last)
    digits = np.diff(ends, prepend=-1)
    begins, most = ends - digits + 1, int(digits.max(initial=0))
    values = (text[begins] & 31).astype(np.int64)
    for digit in range(1, min(most, _DIGITS)):
        longer = np.flatnonzero(digits > digit)
        values[longer] |= (text[begins[longer] + digit] & 31).astype(np.int64) << 5 * digit
    values -= (text[ends] >> 4 & 1).astype(np.int64) << 5 * np.minimum(digits, _DIGITS)
    counts = np.diff(np.searchsorted(ends, stops), prepend=0)
    runs = _undo_differences(values, counts)
    if most > _DIGITS or len(unended) or text.max(initial=0) > 63:
        bad = (text > 63) | np.isin(np.arange(len(text)), unended)
        runs[np.logical_or.reduceat(bad, begins) | (digits > _DIGITS)] = -1
    return runs, counts


def _undo_differences(values: Int64[np.ndarray, " r"], counts: Int64[np.ndarray, " c"]) -> Int64[np.ndarray, " r"]:
    """Runs from the numbers in the codes: from a code's fourth number on, each is stored minus the one two before.

    Numbers at even and at odd positions of the concatenated codes are summed separately; each sum restarts with every
    code, and leaves out the code's first number.
    """
    stops = np.cumsum(counts)
    starts = stops - counts
    runs = np.empty_like(values)
    for parity in (0, 1):
        sums = np.cumsum(np.concatenate([[0], values[parity::2]]))  # sums[k]: of the first k numbers of this parity
        before = sums[np.minimum((starts - parity) // 2 + 1, len(sums) - 1)]
        per_code = (stops - parity + 1) // 2 - (starts - parity + 1) // 2
        runs[parity::2] = sums[1:] - np.repeat(before, per_code)
    firsts = starts[counts > 0]
    runs[firsts] = values[firsts]
    return runs


def brief(value: Any, most: int = 60) -> str:
    """An untrusted value for an error message, cut to a readable length."""
    if isinstance(value, str | bytes):
        return f"{value[:most]!r}" + ("..." if len(value) > most else "")
    if isinstance(value, list | tuple | dict | set) and len(value) > 8:
        return f"{type(value).__name__} of {len(value)} items"
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested too deeply; an integer of thousands of digits
        return f"{type(value).__name__}"
    return text if len(text) <= most else f"{text[:most]}..."


def _wrong_runs(code: Any, size: tuple[int, int], where: str) -> InputError:
    h, w = size
    return InputError(f"{where}: expected runs of {h * w} pixels in all, for {w}x{h}; got {brief(code)}")


def _as_bytes(code: Any, size: tuple[int, int], where: Callable[[int], str], index: int) -> bytes:
    try:
        counts = code.encode("ascii") if isinstance(code, str) else code
    except UnicodeEncodeError:
        counts = None
    if isinstance(counts, bytes) and len(counts) <= MAX_CODE:
        return counts
    if isinstance(counts, list) and len(counts) <= MAX_CODE:
        pixels = size[0] * size[1]
        if not all(type(run) is int and 0 <= run <= pixels for run in counts) or sum(counts) != pixels:
            raise _wrong_runs(counts, size, where(index))
        return _compress(np.array(counts, np.int64), size)
    raise InputError(f"{where(index)}: expected run-length counts as text or a list of runs, got {brief(code)}")


def _compress(runs: Int64[np.ndarray, " r"], size: tuple[int, int]) -> bytes:
    """Compressed counts of these runs, with empty ones merged away except at the start."""
    merged: list[int] = []
    value = -1  # of the pixels of the last run in `merged`
    for index in np.flatnonzero(runs > 0).tolist():
        if index % 2 == value:
            merged[-1] += int(runs[index])
        else:
            merged += [0, int(runs[index])] if not merged and index % 2 else [int(runs[index])]
            value = index % 2
    return coco.frPyObjects({"size": list(size), "counts": merged}, *size)["counts"]


def _bad_codes(runs: Int64[np.ndarray, " r"], counts: Int64[np.ndarray, " c"], pixels: int) -> Int64[np.ndarray, " w"]:
    """Indices of the codes with a run outside 0..pixels, or whose runs do not add up to `pixels`."""
    stops = np.cumsum(counts)
    total = np.concatenate([[0], np.cumsum(runs)])
    bad = total[stops] - total[stops - counts] != pixels
    bad[np.searchsorted(stops, np.flatnonzero((runs < 0) | (runs > pixels)), "right")] = True
    return np.flatnonzero(bad)


def _batches(codes: Sequence[bytes]) -> Iterable[list[bytes]]:
    batch: list[bytes] = []
    characters = 0
    for code in codes:
        if batch and characters + len(code) > _BATCH:
            yield batch
            batch, characters = [], 0
        batch.append(code)
        characters += len(code)
    if batch:
        yield batch
