"""Masks as bitmaps of 64 pixels a word: what J and F are counted on, many frames at a time.

A bitmap is uint64[n l w]: n masks of `l` lines, w words a line, pixel i of a line in bit `i % 64` of word `i // 64`.
Lines are rows when the masks come as arrays and columns when they come as COCO codes, which run down columns; every
operation here is the same either way. Bits past the end of a line are 0.
"""

import functools
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Int64, UInt64

from revseg.errors import InputError
from revseg.masks.rle import decoded

Bitmap = UInt64[np.ndarray, "_ _ _"]
_WORD = np.dtype("<u8")  # the byte order in which packed bytes are words
_BATCH_BYTES = 1 << 19  # few enough to stay in the processor's cache, many enough to be worth a call


def pack(masks: Bool[np.ndarray, "n l p"]) -> Bitmap:
    """Boolean masks, a line a row."""
    packed = np.packbits(masks, axis=-1, bitorder="little")
    words = np.zeros((*masks.shape[:2], 8 * _words(masks.shape[2])), np.uint8)
    words[..., : packed.shape[-1]] = packed
    return words.view(_WORD)


def unpack_counts(counts: Sequence[bytes], size: tuple[int, int]) -> Bitmap:
    """Compressed COCO counts of masks of one size (height, width), a line a column; empty columns are left out.

    Those are the columns before and after all masks, but for one at each side, so that boundaries stay the same.
    Raises InputError for counts that are not of that size.
    """
    height, width = size
    owner, starts = _runs(counts, height * width)
    column, row = np.divmod(starts, max(height, 1))
    first, stop = 0, min(width, 1)
    if len(column):  # from a last run of pixels that are set a mask reaches the frame's end
        first = max(int(column.min()) - 1, 0)
        open_end = (np.bincount(owner) & 1).any()
        stop = width if open_end else min(int(column.max()) + 2, width)
    lines, words = stop - first, _words(height)
    place = (owner * lines + column - first) * words + row // 64
    bits = np.zeros(len(counts) * lines * words, np.uint64)
    if len(place):
        heads = np.flatnonzero(np.diff(place, prepend=-1))  # runs are sorted: those of one word are neighbours
        bits[place[heads]] = np.bitwise_xor.reduceat(np.uint64(1) << (row % 64).astype(np.uint64), heads)
    spare = np.empty_like(bits)
    for step in (1, 2, 4, 8, 16, 32):  # a pixel is set after an odd number of run starts: prefix sums modulo 2
        bits ^= np.left_shift(bits, np.uint64(step), out=spare)
    bits = bits.reshape(len(counts), lines * words)
    odd = np.bitwise_xor.accumulate(bits >> np.uint64(63), axis=1)
    bits[:, 1:] ^= np.uint64(0) - odd[:, :-1]
    bits = bits.reshape(len(counts), lines, words)
    bits &= _inside(height, words)
    return bits


def batches(masks: int, size: tuple[int, int], budget: int = _BATCH_BYTES) -> Iterator[slice]:
    """Slices of so many masks of `size` (height, width) that a bitmap of them has about `budget` bytes."""
    step = max(1, 8 * budget // max(size[0] * size[1], 1))
    for start in range(0, masks, step):
        yield slice(start, start + step)


def used(*bitmaps: Bitmap) -> slice:
    """The lines that hold a pixel in any of the bitmaps, and one more at each side, as far as there are any."""
    held = np.bitwise_or.reduce([np.bitwise_or.reduce(bitmap, axis=0) for bitmap in bitmaps], axis=0)
    lines = np.flatnonzero(held.any(1))
    return slice(max(int(lines[0]) - 1, 0), int(lines[-1]) + 2) if len(lines) else slice(0, 1)


def cropped(bitmap: Bitmap, gap: int) -> Bitmap:
    """Without the lines and words at either end that no mask uses, and with `gap` empty pixels after each line."""
    held = np.bitwise_or.reduce(bitmap, axis=0)
    lines, words = np.flatnonzero(held.any(1)), np.flatnonzero(held.any(0))
    if not len(lines):
        return bitmap[:, :0, :0]
    part = bitmap[:, lines[0] : lines[-1] + 1, words[0] : words[-1] + 1]
    out = np.zeros((*part.shape[:2], part.shape[2] + _words(gap)), np.uint64)
    out[..., : part.shape[2]] = part
    return out


def count(bitmap: Bitmap) -> Int64[np.ndarray, " n"]:
    """Pixels of each mask."""
    if hasattr(np, "bitwise_count"):
        return np.bitwise_count(bitmap).sum((1, 2), np.int64)
    return _ONES[bitmap.view(np.uint8)].sum((1, 2), np.int64)  # NumPy 1


def boundary(bitmap: Bitmap, pixels: int) -> Bitmap:
    """The pixels that differ from their next one in the line, in the next line, or from that one's next.

    `pixels` is the length of a line. At the frame's end a pixel has no such neighbour.
    """
    held = np.zeros((*bitmap.shape[:2], _words(pixels + 1)), np.uint64)
    held[..., : bitmap.shape[2]] = bitmap
    if pixels:  # the last pixel once more: it does not differ from itself
        last = held[..., (pixels - 1) // 64] >> np.uint64((pixels - 1) % 64) & np.uint64(1)
        held[..., pixels // 64] |= last << np.uint64(pixels % 64)
    beyond = _next(held)
    found = held ^ beyond
    found[:, :-1] |= held[:, :-1] ^ held[:, 1:]
    found[:, :-1] |= held[:, :-1] ^ beyond[:, 1:]
    found &= _inside(pixels, _words(pixels + 1))
    return found


def near(bitmap: Bitmap, reach: float) -> Bitmap:
    """Every pixel within `reach` pixels of one of the bitmap, whose lines must end in twice as many empty pixels.

    What is set in that gap has no meaning. Lines are widened step by step to each half-width of the disc, and each
    width is laid over the lines that are as far away as the disc is so wide.
    """
    lines = bitmap.shape[1]
    grown, out = bitmap.copy(), np.zeros_like(bitmap)
    width, spare = 0, np.empty((2, bitmap.size), np.uint64)
    for wide, offsets in _disc(reach):
        while width < wide:
            step = min(width + 1, wide - width)  # further than that would leave holes
            _widen(grown.reshape(-1), step, spare)
            width += step
        for offset in offsets:
            if not offset:
                out |= grown
            elif offset < lines:
                out[:, offset:] |= grown[:, :-offset]
                out[:, :-offset] |= grown[:, offset:]
    return out


def _widen(run: UInt64[np.ndarray, " v"], step: int, spare: UInt64[np.ndarray, "2 v"]) -> None:
    """In place: every pixel of one long line also `step` places further on and back."""
    kept, moved = spare[0], spare[1]
    np.copyto(kept, run)
    far, bits = divmod(step, 64)
    for words, by, up in ((far, bits, True), (far + 1, 64 - bits, False)):
        size = len(run) - words
        if size <= 0 or by == 64:
            continue
        forth, back = (np.left_shift, np.right_shift) if up else (np.right_shift, np.left_shift)
        shift = np.uint64(by)
        run[words:] |= forth(kept[:size], shift, out=moved[:size])
        run[:size] |= back(kept[words:], shift, out=moved[:size])


def _next(bitmap: Bitmap) -> Bitmap:
    """At each pixel the next one of its line; bits past the end of a line are of other lines."""
    run = bitmap.reshape(-1)
    out = run >> np.uint64(1)
    out[:-1] |= run[1:] << np.uint64(63)
    return out.reshape(bitmap.shape)


def _words(pixels: int) -> int:
    return -(-pixels // 64)


@functools.lru_cache(maxsize=64)
def _inside(pixels: int, words: int) -> UInt64[np.ndarray, " w"]:
    """A line of so many words of which the first `pixels` are set."""
    return pack(np.arange(64 * words)[None, None] < pixels)[0, 0]


@functools.lru_cache(maxsize=64)
def _disc(reach: float) -> list[tuple[int, list[int]]]:
    """A disc by its half-widths, narrow ones first: at which distances from its middle line it is so wide."""
    lines: dict[int, list[int]] = {}
    for offset in range(int(reach) + 1):
        lines.setdefault(int(np.sqrt(reach * reach - offset * offset) + 1e-9), []).append(offset)
    return sorted(lines.items())


_ONES = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)


def _runs(counts: Sequence[bytes], pixels: int) -> tuple[Int64[np.ndarray, " r"], Int64[np.ndarray, " r"]]:
    """(mask, first pixel) of every run but each mask's first and those that start at its end."""
    numbers, per_mask = decoded(counts)
    ends = np.cumsum(per_mask)
    total = np.concatenate([[0], np.cumsum(numbers)])
    before = total[ends - per_mask]
    wrong = np.flatnonzero(total[ends] - before != pixels)
    if len(wrong) or (numbers < 0).any():
        raise InputError(
            f"expected run-length counts of {pixels} pixels, got {counts[int(wrong[0]) if len(wrong) else 0][:40]!r}"
        )
    owner = np.repeat(np.arange(len(counts)), per_mask)
    stops = total[1:] - before[owner]
    keep = stops < pixels
    return owner[keep], stops[keep]
