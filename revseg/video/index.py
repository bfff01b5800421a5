"""Which timestamp each frame of a file has, in the order of display; or that its timestamps cannot be relied on.

Most files say when each frame is shown, and list it without being decoded. Others do not (AVI, MPEG programme streams,
raw streams), say it twice (Matroska counts milliseconds, so that above 1,000 frames a second two fall on one), start
again in the middle (streams joined with `cat`), or were written by a program that took the order of decoding for the
order of display. What looks like one of these is decoded once: if FFmpeg shows the frames with these timestamps in this
order, they hold after all; otherwise frame i is the i-th that FFmpeg shows, and is reached by counting from the start.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from revseg.errors import VideoError
from revseg.video.decode import Decoder, demux, open_container, video_stream

# Formats that store when a frame is shown, and whose seeks do not change it. Others are relied on only for pictures
# that stand alone, where the orders of decoding and display are one.
_STORED = ("mov", "matroska", "mpegts", "flv", "nut", "ivf")
_HEAD = 24  # frames decoded to see whether a file starts as its timestamps say


@dataclass(frozen=True, eq=False)
class Index:
    """`pts[i]` is the timestamp of the i-th frame shown, `keys`, sorted, those at which decoding can start.

    A file whose timestamps cannot be relied on has `counted` frames and empty arrays. `threads` is False where its
    damage makes the count depend on how many decode it.
    """

    pts: np.ndarray
    keys: np.ndarray
    fps: float
    cut: bool = False  # the file's end is missing
    counted: int | None = None
    threads: bool = True

    def __len__(self) -> int:
        return len(self.pts) if self.counted is None else self.counted


class Packet(NamedTuple):
    """What the index needs to know of a piece of the file that holds one frame, as a rule."""

    pts: int | None
    dts: int | None
    key: bool
    discard: bool  # decoded and not shown: before the start of an edit list
    broken: bool
    place: int | None  # in the file; None when it shares one with the packet before
    size: int


class Listing(NamedTuple):
    """What a file holds, as far as it can be read without decoding."""

    packets: list[Packet]  # without those after which nothing whole comes
    total: int  # how many came at all
    end: int | None  # the first timestamp among those that are left out
    cut: bool  # some were left out, or the file could not be read on


def read_index(path: str) -> Index:
    """Lists the file's packets, and decodes as much as it takes to be sure of their timestamps: mostly nothing."""
    with open_container(path) as container:
        stream = video_stream(path, container)
        listing = _list(path, container, stream)
        if not listing.packets:
            raise VideoError(f"{path}: expected a video, found one without frames")
        cut = listing.cut or _ends_early(container, stream, listing)
        how_sure = _how_sure(container, stream, listing.packets)
        declared, time_base = float(stream.average_rate or stream.guessed_rate or 0), float(stream.time_base or 1)
    if how_sure == "none":
        return _count(path, _rate(_rising(p.dts for p in listing.packets), time_base, declared), cut)
    pts, keys = _listed(listing)
    if how_sure == "all but the order":
        pts = _in_order_of_display(path, listing.packets)
    elif how_sure == "all but the start" and len(pts):
        pts = _checked_start(path, pts)
    if pts is None:
        return _count(path, declared, cut)
    if not len(pts):
        raise VideoError(f"{path}: expected a video, found one without frames that can be shown")
    return Index(pts, keys, _rate(pts, time_base, declared), cut)


def checked_start(path: str, index: Index) -> Index:
    """The index after a look at what the first frames decode to; for files that may hold a frame in two packets."""
    pts = _checked_start(path, index.pts)
    return _count(path, index.fps, index.cut) if pts is None else replace(index, pts=pts)


def _list(path: str, container: Any, stream: Any) -> Listing:
    hidden = _HIDDEN.get(stream.codec_context.name.removeprefix("lib"))
    found, total, last, cut = [], 0, None, False
    for p in demux(container, stream):
        if p is None:
            cut = True
            break
        size = p.size
        total += size > 0
        if not size or (hidden is not None and hidden(memoryview(p))):
            continue
        last = p
        found.append(Packet(p.pts, p.dts, p.is_keyframe, p.is_discard, p.is_corrupt, p.pos, size))
    whole = len(found)
    if last is not None and not stream.codec_context.codec.intra_only and _is_blank(memoryview(last)):
        whole = max(1, whole - _blank_at_the_end(path))  # pictures that stand alone may be raw, and zeros black
    while whole > 1 and found[whole - 1].broken:
        whole -= 1
    end = min((p.pts for p in found[whole:] if p.pts is not None), default=None)
    return Listing(found[:whole], total, end, cut or whole < len(found))


def _blank_at_the_end(path: str) -> int:
    """How many packets there are after the last that is not blank."""
    count = 0
    with open_container(path) as container:
        for p in demux(container, video_stream(path, container)):
            if p is not None and p.size:
                count = count + 1 if _is_blank(memoryview(p)) else 0
    return count


def _is_blank(data: memoryview) -> bool:
    """Whether it ends in zeros, as a download does that was never finished."""
    return data[-1] == 0 and not any(data[-max(1, min(32, len(data) // 2)) :])


def _hidden_vp8(data: memoryview) -> bool:
    return not data[0] & 0x10


def _hidden_vp9(data: memoryview) -> bool:
    """Neither shown nor a pack of several frames, of which one is."""
    shows = data[0] & 0x0A or data[0] & 0x30 == 0x30  # an earlier frame, or this one; profile 3 is left alone
    return not shows and data[-1] & 0xE0 != 0xC0


_HIDDEN = {"vp8": _hidden_vp8, "vpx": _hidden_vp8, "vp9": _hidden_vp9, "vpx-vp9": _hidden_vp9}


def _ends_early(container: Any, stream: Any, listing: Listing) -> bool:
    """Whether the file says of itself that it holds more than came."""
    form = container.format.name.split(",")[0]
    if form == "mov":  # an edit list counts other frames
        return stream.frames > listing.total and not any(p.discard for p in listing.packets)
    times = _rising(sorted(t for p in listing.packets if (t := p.dts if form == "avi" else p.pts) is not None))
    if not len(times):
        return False
    end = (int(times[-1]) + 1.5 * int(np.diff(times).max(initial=1))) * float(stream.time_base or 1)
    if form == "avi":
        return (stream.duration or 0) * float(stream.time_base or 1) > end
    try:
        hours, minutes, seconds = (float(part) for part in stream.metadata.get("DURATION", "").split(":"))
    except ValueError:
        return False
    return hours * 3600 + minutes * 60 + seconds > end + 0.01


def _how_sure(container: Any, stream: Any, packets: Sequence[Packet]) -> str:
    """How much of what the packets say holds: "all", "all but the start", "all but the order", "none"."""
    context, form = stream.codec_context, container.format.name.split(",")[0]
    alone = context.codec.intra_only and all(p.key for p in packets) and form != "gif"
    if (form not in _STORED and not alone) or context.pix_fmt == "pal8":
        return "none"  # a palette comes with the first packet alone
    if any(p.pts is None for p in packets):
        return "none"
    pts = np.array([p.pts for p in packets], np.int64)
    dts = np.array([p.pts if p.dts is None else p.dts for p in packets], np.int64)
    known = np.array([p.dts is not None for p in packets])
    if len(np.unique(pts)) < len(pts) or (np.diff(dts[known]) <= 0).any():
        return "none"
    if form == "mpegts" and any(p.place is None for p in packets):
        return "none"  # several frames with one timestamp: FFmpeg made up the others
    one_order = len(pts) > 1 and (np.diff(pts) > 0).all()
    packed = context.name == "mpeg4" and min(p.size for p in packets) < 9  # two frames, then a packet with none
    if packed or (pts < dts).any() or (one_order and context.has_b_frames):
        return "all but the order"
    keys = pts[[p.key for p in packets]]
    head = not packets[0].key or pts.min() < keys.min()
    return "all but the start" if head or form == "mpegts" else "all"


def _listed(listing: Listing) -> tuple[np.ndarray, np.ndarray]:
    """Timestamps of the frames that are shown, up to the first that is left out, and of the key frames, both sorted."""
    keys = np.unique(np.array([p.pts for p in listing.packets if p.key], np.int64))
    shown = np.unique(np.array([p.pts for p in listing.packets if not p.discard], np.int64))
    if listing.end is not None and (shown < listing.end).any():
        shown = shown[shown < listing.end]
        keys = keys[keys < listing.end]
    return shown, keys if len(keys) else shown[:1]


def _rising(times: Iterable[int | None]) -> np.ndarray:
    """The times as an array, empty unless each is there and above the one before."""
    known: list[int] = []
    for time in times:
        if time is None or (known and time <= known[-1]):
            return np.zeros(0, np.int64)
        known.append(time)
    return np.array(known, np.int64)


def _in_order_of_display(path: str, packets: Sequence[Packet]) -> np.ndarray | None:
    """Timestamps in the order in which the whole file decodes; None when they do not rise or are not the packets'."""
    known, pts = {p.pts for p in packets}, []
    for frame in Decoder.open(path).frames:
        if frame.pts not in known or (pts and frame.pts <= pts[-1]):
            return None
        pts.append(frame.pts)
    return np.array(pts, np.int64) if pts else None


def _checked_start(path: str, pts: np.ndarray) -> np.ndarray | None:
    """The timestamps without those at the start that nothing decodes to; None when other frames than these come."""
    decoder, first = Decoder.open(path), []
    for frame in decoder.frames:
        first.append(frame.pts)
        if len(first) == _HEAD:
            break
    if not first or None in first:
        return None
    came = np.array(first, np.int64)
    came = came[came <= pts[-1]]
    at = np.searchsorted(pts, came)
    if not len(came) or not (np.diff(came) > 0).all() or not (pts[at] == came).all():
        return None
    steps = np.diff(at)
    settled = len(at) - 1 - (int(np.flatnonzero(steps != 1)[-1]) + 1 if (steps != 1).any() else 0)
    if (steps != 1).any() and settled < _HEAD // 2:
        return None if decoder.progress.failures == 0 else pts[at[0] :]
    return np.concatenate([came, pts[at[-1] + 1 :]])


def _count(path: str, fps: float, cut: bool) -> Index:
    """As many frames as FFmpeg shows; VideoError when that is none."""
    for threads in (True, False):
        decoder = Decoder.open(path, threads=threads)
        while decoder.count_to(decoder.shown) is not None:
            pass
        if not decoder.progress.failures:
            break
    if not decoder.shown:
        raise VideoError(f"{path}: expected a video, found one of which no frame can be decoded; it may be protected")
    nothing = np.zeros(0, np.int64)
    return Index(nothing, nothing, fps or 25.0, cut, decoder.shown, threads)


def _rate(pts: np.ndarray, time_base: float, declared: float) -> float:
    """Frames a second: what the timestamps say, or the file's own number where it agrees within a percent."""
    if len(pts) < 2:
        return declared or 1.0
    measured = (len(pts) - 1) / (float(pts[-1] - pts[0]) * time_base)
    return declared if abs(declared - measured) <= 0.01 * measured else measured
