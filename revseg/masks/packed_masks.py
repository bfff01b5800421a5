"""Masks packed 64 pixels per word, on which J and F are counted for many frames at a time.

A bitmap is uint64[n l w]: n masks of l lines, w words per line; pixel i of a line is bit `i % 64` of word `i // 64`.
Lines are rows when the masks come as arrays, and columns when they come as COCO codes, which run down the columns; all
operations work the same on both. Bits past the end of a line are 0.
"""

import functools
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Int64, UInt64

from revseg.errors import InputError
from revseg.masks.rle import decode_runs

Bitmap = UInt64[np.ndarray, "_ _ _"]
_WORD = np.dtype("<u8")  # the byte order in which packed bytes are words
_BATCH_BYTES = 1 << 19  # small enough for the processor's cache, large enough to amortise a call


def pack(masks: Bool[np.ndarray, "n l p"]) -> Bitmap:
    """Boolean masks as a bitmap whose lines are their rows."""
    packed = np.packbits(masks, axis=-1, bitorder="little")
    words = np.zeros((*masks.shape[:2], 8 * _words(masks.shape[2])), np.uint8)
    words[..., : packed.shape[-1]] = packed
    return words.view(_WORD)


def unpack_counts(counts: Sequence[bytes], size: tuple[int, int]) -> Bitmap:
    """Compressed COCO counts of masks of one size (height, width) as a bitmap whose lines are their columns.

    Columns left and right of all masks are cropped, except one on each side, which keeps the boundaries the same.
    Raises InputError for counts that are not of that size.
    """
    height, width = size
    owner, starts = _runs(counts, height * width)
    column, row = np.divmod(starts, max(height, 1))
    first, stop = 0, min(width, 1)
    if len(column):
        first = max(int(column.min()) - 1, 0)
        to_the_end = (np.bincount(owner) & 1).any()  # a mask's last run is of ones
        stop = width if to_the_end else min(int(column.max()) + 2, width)
    lines, words = stop - first, _words(height)
    word = (owner * lines + column - first) * words + row // 64
    bits = np.zeros(len(counts) * lines * words, np.uint64)
    if len(word):
        heads = np.flatnonzero(np.diff(word, prepend=-1))  # runs are sorted, so those of one word are neighbours
        bits[word[heads]] = np.bitwise_xor.reduceat(np.uint64(1) << (row % 64).astype(np.uint64), heads)
    _fill(bits.reshape(len(counts), lines * words))
    bits = bits.reshape(len(counts), lines, words)
    bits &= _line_mask(height, words)
    return bits


def _fill(bits: UInt64[np.ndarray, "n v"]) -> None:
    """In place: from the first pixels of the runs to all pixels. A pixel is set after an odd number of run starts, so
    this is a prefix sum modulo 2, first within the words and then over the words of each mask."""
    buffer = np.empty_like(bits)
    for step in (1, 2, 4, 8, 16, 32):
        bits ^= np.left_shift(bits, np.uint64(step), out=buffer)
    odd = np.bitwise_xor.accumulate(bits >> np.uint64(63), axis=1)
    bits[:, 1:] ^= np.uint64(0) - odd[:, :-1]


def batches(masks: int, size: tuple[int, int], budget: int = _BATCH_BYTES) -> Iterator[slice]:
    """Slices of masks of `size` (height, width), each of about `budget` bytes as a bitmap."""
    step = max(1, 8 * budget // max(size[0] * size[1], 1))
    for start in range(0, masks, step):
        yield slice(start, start + step)


def used(*bitmaps: Bitmap) -> slice:
    """From the first to the last line with a pixel in any of the bitmaps, with one more line on each side."""
    union = np.bitwise_or.reduce([np.bitwise_or.reduce(bitmap, axis=0) for bitmap in bitmaps], axis=0)
    lines = np.flatnonzero(union.any(1))
    return slice(max(int(lines[0]) - 1, 0), int(lines[-1]) + 2) if len(lines) else slice(0, 1)


def cropped(bitmap: Bitmap, gap: int) -> Bitmap:
    """Cropped to the lines and words that some mask uses, and padded by at least `gap` empty pixels after each line."""
    union = np.bitwise_or.reduce(bitmap, axis=0)
    lines, words = np.flatnonzero(union.any(1)), np.flatnonzero(union.any(0))
    if not len(lines):
        return bitmap[:, :0, :0]
    part = bitmap[:, lines[0] : lines[-1] + 1, words[0] : words[-1] + 1]
    out = np.zeros((*part.shape[:2], part.shape[2] + _words(gap)), np.uint64)
    out[..., : part.shape[2]] = part
    return out


def count(bitmap: Bitmap) -> Int64[np.ndarray, " n"]:
    """The number of pixels of each mask."""
    if hasattr(np, "bitwise_count"):
        return np.bitwise_count(bitmap).sum((1, 2), np.int64)
    return _ONES[bitmap.view(np.uint8)].sum((1, 2), np.int64)  # NumPy 1


def boundary(bitmap: Bitmap, pixels: int) -> Bitmap:
    """The pixels that differ from the next pixel of their line, from the same pixel of the next line, or from the next
    pixel of the next line (DAVIS's definition).

    `pixels` is the length of a line. Pixels at the frame's end lack some of these neighbours.
    """
    padded = np.zeros((*bitmap.shape[:2], _words(pixels + 1)), np.uint64)
    padded[..., : bitmap.shape[2]] = bitmap
    if pixels:  # the last pixel is repeated, so that it does not differ from its next
        last = padded[..., (pixels - 1) // 64] >> np.uint64((pixels - 1) % 64) & np.uint64(1)
        padded[..., pixels // 64] |= last << np.uint64(pixels % 64)
    following = _next_pixels(padded)
    edges = padded ^ following
    edges[:, :-1] |= padded[:, :-1] ^ padded[:, 1:]
    edges[:, :-1] |= padded[:, :-1] ^ following[:, 1:]
    edges &= _line_mask(pixels, _words(pixels + 1))
    return edges


def dilated(bitmap: Bitmap, radius: float) -> Bitmap:
    """The bitmap dilated by a disc. Its lines must end in at least twice the radius of empty pixels.

    In the result the bits of that padding have no meaning. For every half-width of the disc, the lines dilated by it
    are OR-ed into the lines at each offset where the disc has that half-width.
    """
    lines = bitmap.shape[1]
    wide, out = bitmap.copy(), np.zeros_like(bitmap)
    width, buffer = 0, np.empty((2, bitmap.size), np.uint64)
    for half_width, offsets in _disc(radius):
        while width < half_width:
            step = min(width + 1, half_width - width)  # a longer step would leave holes
            _dilate_lines(wide.reshape(-1), step, buffer)
            width += step
        for offset in offsets:
            if not offset:
                out |= wide
            elif offset < lines:
                out[:, offset:] |= wide[:, :-offset]
                out[:, :-offset] |= wide[:, offset:]
    return out


def _dilate_lines(bits: UInt64[np.ndarray, " v"], step: int, buffer: UInt64[np.ndarray, "2 v"]) -> None:
    """In place, on all lines as one: ORs the bits with themselves shifted by `step` pixels in both directions."""
    original, shifted = buffer[0], buffer[1]
    np.copyto(original, bits)
    whole_words, rest = divmod(step, 64)
    for words, by, up in ((whole_words, rest, True), (whole_words + 1, 64 - rest, False)):
        size = len(bits) - words
        if size <= 0 or by == 64:
            continue
        forward, backward = (np.left_shift, np.right_shift) if up else (np.right_shift, np.left_shift)
        shift = np.uint64(by)
        bits[words:] |= forward(original[:size], shift, out=shifted[:size])
        bits[:size] |= backward(original[words:], shift, out=shifted[:size])


def _next_pixels(bitmap: Bitmap) -> Bitmap:
    """The bitmap shifted by one: at each pixel the next one of its line. Bits past a line's end come from the next."""
    bits = bitmap.reshape(-1)
    out = bits >> np.uint64(1)
    out[:-1] |= bits[1:] << np.uint64(63)
    return out.reshape(bitmap.shape)


def _words(pixels: int) -> int:
    return -(-pixels // 64)


@functools.lru_cache(maxsize=64)
def _line_mask(pixels: int, words: int) -> UInt64[np.ndarray, " w"]:
    """A line of `words` words whose first `pixels` bits are set."""
    return pack(np.arange(64 * words)[None, None] < pixels)[0, 0]


@functools.lru_cache(maxsize=64)
def _disc(radius: float) -> list[tuple[int, list[int]]]:
    """A disc as (half-width, distances from its middle line at which it has that half-width), narrowest first."""
    lines: dict[int, list[int]] = {}
    for offset in range(int(radius) + 1):
        lines.setdefault(int(np.sqrt(radius * radius - offset * offset) + 1e-9), []).append(offset)
    return sorted(lines.items())


_ONES = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)


def _runs(counts: Sequence[bytes], pixels: int) -> tuple[Int64[np.ndarray, " r"], Int64[np.ndarray, " r"]]:
    """(mask, first pixel) of every run, except each mask's first run and empty ones at its end."""
    lengths, per_mask = decode_runs(counts)
    ends = np.cumsum(per_mask)
    total = np.concatenate([[0], np.cumsum(lengths)])
    before = total[ends - per_mask]
    wrong = np.flatnonzero(total[ends] - before != pixels)
    if len(wrong) or (lengths < 0).any():
        raise InputError(
            f"expected run-length counts of {pixels} pixels, got {counts[int(wrong[0]) if len(wrong) else 0][:40]!r}"
        )
    owner = np.repeat(np.arange(len(counts)), per_mask)
    next_starts = total[1:] - before[owner]
    keep = next_starts < pixels
    return owner[keep], next_starts[keep]
