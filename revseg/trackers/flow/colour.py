"""Flat colours: the main colours of a frame, the pixels of a colour, and the flat region that fits a box."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from revseg.grounding.boxes import box_iou
from revseg.masks.dense import tight_box

_REACH = 90.0  # largest RGB distance of a pixel from its colour
_PIECES = 6  # most regions of an object, and _REGIONS of its colour in a frame: real footage has more, as specks
_REGIONS = 30


@dataclass(frozen=True, eq=False)
class Colour:
    """A flat colour and the spread of its pixels."""

    rgb: Float64[np.ndarray, " 3"]
    spread: float  # RGB distance; other colours of the scene are at least this far

    def of(self, frame: np.ndarray) -> Bool[np.ndarray, "h w"]:
        """The pixels of uint8[h w 3] that are nearer to this colour than to the frame's other main colours."""
        pixels = frame.astype(np.float32)
        distance = np.sqrt(((pixels - self.rgb.astype(np.float32)) ** 2).sum(-1))
        near = distance < _REACH
        candidates, own = pixels[near], distance[near]
        keep = np.ones(len(own), bool)
        for other in main_colours(frame):
            apart = float(np.linalg.norm(other - self.rgb))
            if self.spread < apart < 2 * _REACH:
                keep &= own < np.sqrt(((candidates - other.astype(np.float32)) ** 2).sum(-1))
        found = np.zeros(near.shape, bool)
        found[near] = keep
        return found


def main_colours(frame: np.ndarray, least: float = 0.003) -> Float64[np.ndarray, "n 3"]:
    """Colours that fill at least this share of a frame (or 20 pixels), counted on the inner pixels of flat regions."""
    import cv2

    stride = max(1, int(np.sqrt(frame.shape[0] * frame.shape[1] / 60_000)))
    gradient = cv2.morphologyEx(frame, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)).max(-1)
    flat = frame[::stride, ::stride][gradient[::stride, ::stride] < 60]
    bins = (flat >> 4).astype(np.int64) @ np.asarray([256, 16, 1])
    counts = np.bincount(bins, minlength=4096)
    big = np.flatnonzero(counts >= max(20 / stride**2, least * frame.shape[0] * frame.shape[1] / stride**2))
    sums = [np.bincount(bins, flat[:, c], minlength=4096)[big] for c in range(3)]
    return np.stack(sums, -1) / counts[big, None]


def background_of(frame: np.ndarray) -> Bool[np.ndarray, "h w"]:
    """The pixels near the frame's median colour, which is the background where objects fill less than half of it."""
    middle = np.median(frame[::2, ::2].reshape(-1, 3), axis=0)
    return np.abs(frame - middle).max(-1) < 45


def find_flat(frame: np.ndarray, box: np.ndarray) -> tuple[Colour, Bool[np.ndarray, "h w"]] | None:
    """The flat colour whose regions fit the box best, with those regions; None when nothing flat fits."""
    import cv2

    h, w = frame.shape[:2]
    x1, y1 = np.floor(box[:2]).astype(int).clip(0, (w - 1, h - 1))
    x2, y2 = np.maximum(np.ceil(box[2:]).astype(int).clip(0, (w, h)), (x1 + 1, y1 + 1))
    pad = int(np.ceil(0.15 * max(x2 - x1, y2 - y1))) + 1
    near = np.zeros((h, w), bool)
    near[max(y1 - pad, 0) : y2 + pad, max(x1 - pad, 0) : x2 + pad] = True
    cut = np.zeros((h, w), bool)
    cut[y1:y2, x1:x2] = True
    ring = frame[near & ~cut].astype(np.float32)
    best, answer = 0.45, None
    for rgb in _merged(main_colours(frame[y1:y2, x1:x2], 0.04)):
        colour = Colour(rgb, 30.0)
        _, labels, stats, _ = cv2.connectedComponentsWithStats(colour.of(frame).view(np.uint8), connectivity=8)
        areas = stats[:, cv2.CC_STAT_AREA]
        around = float(np.mean(np.linalg.norm(ring - rgb, axis=-1) < 50)) if len(ring) else 0.0
        inside = np.bincount(labels[near], minlength=len(stats))
        whole = np.flatnonzero((inside >= 0.6 * areas) & (inside >= 4))
        # an object that touches another of its colour is cut out by the box; the background is too large for that
        merged = np.flatnonzero((inside >= 0.2 * areas) & (inside >= 4) & (areas < 5 * cut.sum()))
        for mask, worth in ((np.isin(labels, whole[whole > 0]), 1.0), (np.isin(labels, merged[merged > 0]) & cut, 0.8)):
            if mask.any() and _is_flat(frame, mask) and _is_solid(labels, areas, mask):
                fit = (worth - 0.5 * around) * box_iou(np.asarray(tight_box(mask)), np.asarray([x1, y1, x2, y2]))
                if fit > best:
                    best, answer = fit, (colour, mask)
    return answer


def _is_flat(frame: np.ndarray, mask: Bool[np.ndarray, "h w"]) -> bool:
    """Whether the colour hardly varies inside the mask, after smoothing and without its edges."""
    import cv2

    inner = cv2.erode(mask.view(np.uint8), np.ones((5, 5), np.uint8), borderValue=1).astype(bool)
    if not inner.any():
        inner = mask
    return float(cv2.blur(frame, (3, 3))[inner].std(0).max()) < 12.0


def _is_solid(labels: np.ndarray, areas: np.ndarray, mask: Bool[np.ndarray, "h w"]) -> bool:
    """Whether the colour has few regions in the frame, and the mask mostly one."""
    mine = np.bincount(labels[mask], minlength=len(areas))
    few = np.count_nonzero(areas[1:] >= 4) <= _REGIONS and np.count_nonzero(mine >= 4) <= _PIECES
    return bool(few and mine.max() > 0.4 * mine.sum())


def _merged(colours: Float64[np.ndarray, "n 3"]) -> list[np.ndarray]:
    """The colours without those less than 30 from an earlier one (a colour between two bins is found in both)."""
    kept: list[np.ndarray] = []
    for rgb in colours:
        if all(np.linalg.norm(rgb - k) >= 30 for k in kept):
            kept.append(rgb)
    return kept
