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
_BATCH = 1 << 20  # characters decoded at a time
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
        owner, runs = decoded(batch)
        wrong = _wrong(owner, runs, len(batch), size[0] * size[1])
        if len(wrong):
            place, code = min((first[batch[i]], batch[i]) for i in wrong.tolist())
            raise _refused(code.decode("latin-1"), size, where(place))
        inner = np.flatnonzero((runs == 0) & (np.diff(owner, prepend=-1) == 0))
        for i in np.unique(owner[inner]).tolist():
            mended[batch[i]] = _joined(runs[owner == i], size)
    return [mended.get(code, code) for code in given]


def decoded(codes: Sequence[bytes]) -> tuple[Int64[np.ndarray, " r"], Int64[np.ndarray, " r"]]:
    """(code, pixels) of every run of compressed codes. Unchecked, but for what is no code at all: -1 pixels there."""
    text = np.frombuffer(b"".join(codes), np.uint8).astype(np.int64) - 48
    lengths = np.array([len(code) for code in codes], np.int64)
    last = (text & 32) == 0
    final = np.cumsum(lengths)[lengths > 0] - 1
    unended = final[~last[final]]
    last[unended] = True
    ends = np.flatnonzero(last)
    begins = np.concatenate([[0], ends[:-1] + 1])[: len(ends)]
    digit = np.arange(len(text)) - np.repeat(begins, ends - begins + 1)
    bad = np.zeros(len(text), bool)
    bad[unended] = True
    bad |= (text < 0) | (text > 63) | (digit >= _DIGITS)
    values = np.add.reduceat((text & 31) << 5 * np.minimum(digit, _DIGITS), begins) if len(ends) else text[:0]
    values -= np.where(text[ends] & 16, np.int64(1) << 5 * np.minimum(digit[ends] + 1, _DIGITS), 0)
    per_code = np.diff(np.concatenate([[0], np.cumsum(last)])[np.concatenate([[0], np.cumsum(lengths)])])
    owner = np.repeat(np.arange(len(codes)), per_code)
    order = np.arange(len(values)) - (np.cumsum(per_code) - per_code)[owner]
    for odd in (0, 1):  # numbers 1, 3, 5, ... are one chain of differences, 2, 4, 6, ... the other
        chain = np.flatnonzero((order > 0) & (order % 2 == odd))
        values[chain] = running_sums(values[chain], owner[chain])
    if bad.any():
        values[np.logical_or.reduceat(bad, begins)] = -1
    return owner, values


def run_lengths(code: bytes) -> list[int]:
    """The runs of one compressed code, unchecked."""
    return decoded([code])[1].tolist()


def running_sums(values: Int64[np.ndarray, " r"], owner: Int64[np.ndarray, " r"]) -> Int64[np.ndarray, " r"]:
    """Sums that start anew with each owner; owners are sorted."""
    total = np.cumsum(values)
    first = np.flatnonzero(np.diff(owner, prepend=-1))
    before = total[first] - values[first]
    return total - np.repeat(before, np.diff(np.append(first, len(owner))))


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


def _wrong(
    owner: Int64[np.ndarray, " r"], runs: Int64[np.ndarray, " r"], count: int, pixels: int
) -> Int64[np.ndarray, " w"]:
    """The codes whose runs are not those of a picture."""
    whole = np.zeros(count, np.int64)
    np.add.at(whole, owner, np.where((runs < 0) | (runs > pixels), np.int64(-1) << 40, runs))
    return np.flatnonzero(whole != pixels)


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
