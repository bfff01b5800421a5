"""The timestamps of a file's frames in display order, or the finding that they are unreliable.

Most files store when each frame is shown, and can be listed without decoding. In others timestamps are missing (AVI,
MPEG program streams, raw streams), repeat (Matroska counts milliseconds, so above 1,000 fps two frames share one),
restart in the middle (streams joined with `cat`), or follow decoding order instead of display order. A file that may be
one of these is decoded once: if FFmpeg gives the frames with the listed timestamps in that order, they are used after
all; otherwise frame i is the i-th that FFmpeg gives, and is reached by counting from the start.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from revseg.errors import VideoError
from revseg.video.decode import Decoder, open_container, video_stream
from revseg.video.packets import Listing, Packet, ends_early, list_packets, rising

# Formats that store display times which seeking does not change. In others timestamps are used only where every frame
# is a key frame, so that decoding and display order are the same.
_STORED = ("mov", "matroska", "mpegts", "flv", "nut", "ivf")
_HEAD = 24  # frames decoded to check the first timestamps


@dataclass(frozen=True, eq=False)
class Index:
    """`pts[i]` is the timestamp of frame i in display order; `keys`, sorted, are those of the key frames.

    For a file with unreliable timestamps the arrays are empty and `counted` is its number of frames. `threads` is False
    where the file is damaged, so that the count would depend on the number of decoding threads.
    """

    pts: np.ndarray
    keys: np.ndarray
    fps: float
    cut: bool = False  # the file's end is missing
    counted: int | None = None
    threads: bool = True

    def __len__(self) -> int:
        return len(self.pts) if self.counted is None else self.counted


def read_index(path: str) -> Index:
    """Lists the file's packets, and decodes as much as is needed to verify the timestamps, mostly nothing."""
    with open_container(path) as container:
        stream = video_stream(path, container)
        listing = list_packets(path, container, stream)
        if not listing.packets:
            raise VideoError(f"{path}: expected a video, found one without frames")
        cut = listing.cut or ends_early(container, stream, listing)
        reliable = _reliability(container, stream, listing.packets)
        declared, time_base = float(stream.average_rate or stream.guessed_rate or 0), float(stream.time_base or 1)
    if reliable == "none":
        return _count(path, _rate(rising(p.dts for p in listing.packets), time_base, declared), cut)
    pts, keys = _listed(listing)
    if reliable == "all but the order":
        pts = _in_order_of_display(path, listing.packets)
    elif reliable == "all but the start" and len(pts):
        pts = _checked_start(path, pts)
    if pts is None:
        return _count(path, declared, cut)
    if not len(pts):
        raise VideoError(f"{path}: expected a video, found one without frames that can be shown")
    return Index(pts, keys, _rate(pts, time_base, declared), cut)


def checked_start(path: str, index: Index) -> Index:
    """The index, verified by decoding the first frames; for files that may store a frame in two packets."""
    pts = _checked_start(path, index.pts)
    return _count(path, index.fps, index.cut) if pts is None else replace(index, pts=pts)


def _reliability(container: Any, stream: Any, packets: Sequence[Packet]) -> str:
    """How much of the packets' timestamps is reliable: "all", "all but the start", "all but the order" or "none"."""
    context, form = stream.codec_context, container.format.name.split(",")[0]
    all_keys = context.codec.intra_only and all(p.key for p in packets) and form != "gif"
    if (form not in _STORED and not all_keys) or context.pix_fmt == "pal8":
        return "none"  # the palette is in the first packet only, so seeking would lose it
    if any(p.pts is None for p in packets):
        return "none"
    pts = np.array([p.pts for p in packets], np.int64)
    dts = np.array([p.pts if p.dts is None else p.dts for p in packets], np.int64)
    known = np.array([p.dts is not None for p in packets])
    if len(np.unique(pts)) < len(pts) or (np.diff(dts[known]) <= 0).any():
        return "none"
    if form == "mpegts" and any(p.position is None for p in packets):
        return "none"  # several frames share a timestamp, and FFmpeg invents the others
    one_order = len(pts) > 1 and (np.diff(pts) > 0).all()
    packed = context.name == "mpeg4" and min(p.size for p in packets) < 9  # two frames in a packet, then an empty one
    if packed or (pts < dts).any() or (one_order and context.has_b_frames):
        return "all but the order"
    keys = pts[[p.key for p in packets]]
    head = not packets[0].key or pts.min() < keys.min()
    return "all but the start" if head or form == "mpegts" else "all"


def _listed(listing: Listing) -> tuple[np.ndarray, np.ndarray]:
    """Timestamps of the displayed frames and of the key frames, both sorted, up to the first one that is left out."""
    keys = np.unique(np.array([p.pts for p in listing.packets if p.key], np.int64))
    shown = np.unique(np.array([p.pts for p in listing.packets if not p.discard], np.int64))
    if listing.end is not None and (shown < listing.end).any():
        shown = shown[shown < listing.end]
        keys = keys[keys < listing.end]
    return shown, keys if len(keys) else shown[:1]


def _in_order_of_display(path: str, packets: Sequence[Packet]) -> np.ndarray | None:
    """Timestamps of the frames as decoded; None unless they increase and are all among the packets'."""
    known, pts = {p.pts for p in packets}, []
    for frame in Decoder.open(path).frames:
        if frame.pts not in known or (pts and frame.pts <= pts[-1]):
            return None
        pts.append(frame.pts)
    return np.array(pts, np.int64) if pts else None


def _checked_start(path: str, pts: np.ndarray) -> np.ndarray | None:
    """The timestamps without those at the start for which no frame decodes; None when other frames are decoded."""
    decoder, first = Decoder.open(path), []
    for frame in decoder.frames:
        first.append(frame.pts)
        if len(first) == _HEAD:
            break
    if not first or None in first:
        return None
    decoded = np.array(first, np.int64)
    decoded = decoded[decoded <= pts[-1]]
    at = np.searchsorted(pts, decoded)
    if not len(decoded) or not (np.diff(decoded) > 0).all() or not (pts[at] == decoded).all():
        return None
    gaps = np.flatnonzero(np.diff(at) != 1)  # where listed timestamps were not decoded
    without_gap = len(at) - 1 - (int(gaps[-1]) + 1 if len(gaps) else 0)
    if len(gaps) and without_gap < _HEAD // 2:
        return None if decoder.progress.failures == 0 else pts[at[0] :]
    return np.concatenate([decoded, pts[at[-1] + 1 :]])


def _count(path: str, fps: float, cut: bool) -> Index:
    """The index of a file whose frames are counted by decoding it. VideoError when there is none."""
    for threads in (True, False):
        decoder = Decoder.open(path, threads=threads)
        while decoder.count_to(decoder.shown) is not None:
            pass
        if not decoder.progress.failures:
            break
    if not decoder.shown:
        raise VideoError(f"{path}: expected a video, found one of which no frame can be decoded; it may be protected")
    empty = np.zeros(0, np.int64)
    return Index(empty, empty, fps or 25.0, cut, decoder.shown, threads)


def _rate(pts: np.ndarray, time_base: float, declared: float) -> float:
    """Average fps by the timestamps, or the declared rate where it agrees within a percent."""
    if len(pts) < 2:
        return declared or 1.0
    measured = (len(pts) - 1) / (float(pts[-1] - pts[0]) * time_base)
    return declared if abs(declared - measured) <= 0.01 * measured else measured
