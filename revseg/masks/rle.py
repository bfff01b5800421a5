"""COCO run-length codes from outside, checked where they are read, so that pycocotools never sees a bad one.

Its C code trusts what it is given: runs that do not fill the picture, or a picture of 10^12 pixels, hang or end the
process.

A code is text: six bits a character, five of them a number's, lowest first, one says that it goes on; the number is
signed, and from a code's fourth on it is the difference from the one two before. The numbers are runs of pixels, down
the columns, of 0 and 1 in turn.
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
MAX_FRAMES = 1 << 24  # of one video: more than a week at 24 a second
_DIGITS = 7  # of one number: 35 bits, enough for differences of MAX_PIXELS, and their sums stay within 64
_BATCH = 1 << 15  # characters decoded at a time: what stays in the processor's cache
_coco_any: Any = _coco  # its type stubs know neither bytes nor lists


def checked_size(size: Any, where: str = "size") -> tuple[int, int]:
    """(height, width) as whole numbers that a picture can have; InputError otherwise."""
    pair = list(size) if isinstance(size, Sequence | np.ndarray) and not isinstance(size, str | bytes) else []
    whole = len(pair) == 2 and all(isinstance(s, numbers.Integral) and not isinstance(s, bool) for s in pair)
    if not whole or not all(0 < s <= MAX_SIDE for s in pair) or pair[0] * pair[1] > MAX_PIXELS:
        raise InputError(
            f"{where}: expected [height, width], each of 1..{MAX_SIDE} and at most {MAX_PIXELS} pixels in all; "
            f"got {brief(size)}"
        )
    return int(pair[0]), int(pair[1])


def checked_codes(codes: Sequence[Any], size: tuple[int, int], where: str = "counts") -> list[bytes]:
    """Codes of masks of one size, each as text, bytes or a list of runs, as compressed ones that are right.

    Runs of no pixels, but for the first, are taken out: pycocotools writes past its memory where there are many.
    Each distinct code is looked at once. InputError, naming the place, for what is no code of that size.
    """
    return _checked(codes, size, lambda index: f"{where}[{index}]")


def checked_code(code: Any, size: tuple[int, int], where: str) -> bytes:
    """As `checked_codes`, of one."""
    return _checked([code], size, lambda index: where)[0]


def _checked(codes: Sequence[Any], size: tuple[int, int], where: Callable[[int], str]) -> list[bytes]:
    given = [_as_bytes(code, size, where, i) for i, code in enumerate(codes)]
    first = {code: i for i, code in reversed(list(enumerate(given)))}
    mended: dict[bytes, bytes] = {}
    for batch in _batches(list(first)):
        runs, counts = decoded(batch)
        wrong = _wrong(runs, counts, size[0] * size[1])
        if len(wrong):
            place, code = min((first[batch[i]], batch[i]) for i in wrong.tolist())
            raise _refused(code.decode("latin-1"), size, where(place))
        stops = np.cumsum(counts)
        inner = np.setdiff1d(np.flatnonzero(runs == 0), stops - counts)
        for i in np.unique(np.searchsorted(stops, inner, "right")).tolist():
            mended[batch[i]] = _joined(runs[stops[i] - counts[i] : stops[i]], size)
    return [mended.get(code, code) for code in given]


def decoded(codes: Sequence[bytes]) -> tuple[Int64[np.ndarray, " r"], Int64[np.ndarray, " c"]]:
    """The runs of compressed codes, and how many each has. Unchecked, but for what is no code at all: -1 pixels there.

    Nothing but whole arrays one after the other: a results file holds tens of millions of these characters.
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
        more = np.flatnonzero(digits > digit)
        values[more] |= (text[begins[more] + digit] & 31).astype(np.int64) << 5 * digit
    values -= (text[ends] >> 4 & 1).astype(np.int64) << 5 * np.minimum(digits, _DIGITS)
    counts = np.diff(np.searchsorted(ends, stops), prepend=0)
    runs = _with_differences(values, counts)
    if most > _DIGITS or len(unended) or text.max(initial=0) > 63:
        bad = (text > 63) | np.isin(np.arange(len(text)), unended)
        runs[np.logical_or.reduceat(bad, begins) | (digits > _DIGITS)] = -1
    return runs, counts


def _with_differences(values: Int64[np.ndarray, " r"], counts: Int64[np.ndarray, " c"]) -> Int64[np.ndarray, " r"]:
    """From a code's fourth number on, each is added to the one two before: two sums that start anew with each code."""
    stops = np.cumsum(counts)
    starts = stops - counts
    found = np.empty_like(values)
    for side in (0, 1):  # every other number of all codes
        sums = np.cumsum(np.concatenate([[0], values[side::2]]))  # sums[k]: before the k-th of this side
        before = sums[
            np.minimum((starts - side) // 2 + 1, len(sums) - 1)
        ]  # up to the code's first number, which takes no part
        held = (stops - side + 1) // 2 - (starts - side + 1) // 2
        found[side::2] = sums[1:] - np.repeat(before, held)
    firsts = starts[counts > 0]
    found[firsts] = values[firsts]
    return found


def run_lengths(code: bytes) -> list[int]:
    """The runs of one compressed code, unchecked."""
    return decoded([code])[0].tolist()


def brief(value: Any, most: int = 60) -> str:
    """A value from outside for an error's text, whatever its size."""
    if isinstance(value, str | bytes):
        return f"{value[:most]!r}" + ("..." if len(value) > most else "")
    if isinstance(value, list | tuple | dict | set) and len(value) > 8:
        return f"{type(value).__name__} of {len(value)} items"
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested too deep; a whole number of thousands of digits
        return f"{type(value).__name__}"
    return text if len(text) <= most else f"{text[:most]}..."


def _refused(code: Any, size: tuple[int, int], where: str) -> InputError:
    h, w = size
    return InputError(f"{where}: expected runs of {h * w} pixels in all, for {w}x{h}; got {brief(code)}")


def _as_bytes(code: Any, size: tuple[int, int], where: Callable[[int], str], index: int) -> bytes:
    try:
        found = code.encode("ascii") if isinstance(code, str) else code
    except UnicodeEncodeError:
        found = None
    if isinstance(found, bytes) and len(found) <= MAX_CODE:
        return found
    if isinstance(found, list) and len(found) <= MAX_CODE:
        pixels = size[0] * size[1]
        if not all(type(run) is int and 0 <= run <= pixels for run in found) or sum(found) != pixels:
            raise _refused(found, size, where(index))
        return _joined(np.array(found, np.int64), size)
    raise InputError(f"{where(index)}: expected run-length counts as text or a list of runs, got {brief(code)}")


def _joined(runs: Int64[np.ndarray, " r"], size: tuple[int, int]) -> bytes:
    """Compressed, without runs of no pixels but at the start."""
    turn = np.flatnonzero(runs > 0)
    kept: list[int] = []
    of = -1  # the value of the run before
    for place in turn.tolist():
        if place % 2 == of:
            kept[-1] += int(runs[place])
        else:
            kept += [0, int(runs[place])] if not kept and place % 2 else [int(runs[place])]
            of = place % 2
    return _coco_any.frPyObjects({"size": list(size), "counts": kept}, *size)["counts"]


def _wrong(runs: Int64[np.ndarray, " r"], counts: Int64[np.ndarray, " c"], pixels: int) -> Int64[np.ndarray, " w"]:
    """The codes whose runs are not those of a picture."""
    stops = np.cumsum(counts)
    total = np.concatenate([[0], np.cumsum(runs)])
    wrong = total[stops] - total[stops - counts] != pixels
    wrong[np.searchsorted(stops, np.flatnonzero((runs < 0) | (runs > pixels)), "right")] = True
    return np.flatnonzero(wrong)


def _batches(codes: Sequence[bytes]) -> Iterable[list[bytes]]:
    batch: list[bytes] = []
    held = 0
    for code in codes:
        if batch and held + len(code) > _BATCH:
            yield batch
            batch, held = [], 0
        batch.append(code)
        held += len(code)
    if batch:
        yield batch
