"""The packets of a video file, listed without decoding, and whether its end is missing."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from revseg.video.decode import demux, open_container, video_stream


class Packet(NamedTuple):
    """What the index needs of a packet, which usually holds one frame."""

    pts: int | None
    dts: int | None
    key: bool
    discard: bool  # decoded but not displayed: before the start of an edit list
    broken: bool
    position: int | None  # byte in the file; None when it is the previous packet's
    size: int


class Listing(NamedTuple):
    """The packets of a file, read without decoding."""

    packets: list[Packet]  # without damaged ones at the end
    total: int  # all packets, with the damaged ones
    end: int | None  # the first timestamp of those left out
    cut: bool  # some were left out, or reading failed


def list_packets(path: str, container: Any, stream: Any) -> Listing:
    """The stream's packets, without frames that are never shown (VP8, VP9) and damaged ones at the end."""
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
        whole = max(1, whole - _blank_at_the_end(path))  # intra-only codecs may be raw video, where zeros are black
    while whole > 1 and found[whole - 1].broken:
        whole -= 1
    end = min((p.pts for p in found[whole:] if p.pts is not None), default=None)
    return Listing(found[:whole], total, end, cut or whole < len(found))


def _blank_at_the_end(path: str) -> int:
    """The number of blank packets at the end of the file."""
    count = 0
    with open_container(path) as container:
        for p in demux(container, video_stream(path, container)):
            if p is not None and p.size:
                count = count + 1 if _is_blank(memoryview(p)) else 0
    return count


def _is_blank(data: memoryview) -> bool:
    """Whether the data ends in zeros, as in an unfinished download."""
    return data[-1] == 0 and not any(data[-max(1, min(32, len(data) // 2)) :])


def _hidden_vp8(data: memoryview) -> bool:
    return not data[0] & 0x10


def _hidden_vp9(data: memoryview) -> bool:
    """Neither displayed nor a superframe, which contains a displayed one."""
    shows = data[0] & 0x0A or data[0] & 0x30 == 0x30  # an earlier frame, or this one; profile 3 is left alone
    return not shows and data[-1] & 0xE0 != 0xC0


_HIDDEN = {"vp8": _hidden_vp8, "vpx": _hidden_vp8, "vp9": _hidden_vp9, "vpx-vp9": _hidden_vp9}


def ends_early(container: Any, stream: Any, listing: Listing) -> bool:
    """Whether the file declares more frames, or a longer duration, than it holds."""
    form = container.format.name.split(",")[0]
    if form == "mov":  # with an edit list the number counts other frames
        return stream.frames > listing.total and not any(p.discard for p in listing.packets)
    times = rising(sorted(t for p in listing.packets if (t := p.dts if form == "avi" else p.pts) is not None))
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


def rising(times: Iterable[int | None]) -> np.ndarray:
    """The times as an array; empty unless all are known and increasing."""
    known: list[int] = []
    for time in times:
        if time is None or (known and time <= known[-1]):
            return np.zeros(0, np.int64)
        known.append(time)
    return np.array(known, np.int64)
