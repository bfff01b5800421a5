"""The first mask of a target of real footage within its box, and the colour histograms that describe it."""

import numpy as np
from jaxtyping import Bool, Float32

from revseg.trackers.flow.scene import COLOUR_BINS, View


def first_mask(view: View, box: np.ndarray) -> Bool[np.ndarray, "h w"]:
    """The target within its box, by colour, position and motion; refined by GrabCut where the two agree."""
    import cv2

    h, w = view.gray.shape
    x1, y1 = np.floor(box[:2]).astype(int).clip(0, (w - 2, h - 2))
    x2, y2 = np.maximum(np.ceil(box[2:]).astype(int).clip(0, (w, h)), (x1 + 2, y1 + 2))
    inside = np.zeros((h, w), bool)
    inside[y1:y2, x1:x2] = True
    pad = int(0.4 * max(x2 - x1, y2 - y1)) + 4
    part = np.s_[max(y1 - pad, 0) : y2 + pad, max(x1 - pad, 0) : x2 + pad]
    around = np.zeros((h, w), bool)
    around[part] = True
    distance = np.hypot(  # from the box's centre; 1 at the middles of its sides
        (np.arange(w)[None] - (x1 + x2) / 2) / (x2 - x1) * 2, (np.arange(h)[:, None] - (y1 + y2) / 2) / (y2 - y1) * 2
    )
    prior = 1.2 - 1.8 * distance**2  # log-odds
    if view.foreground is not None:
        moves = view.foreground[inside].mean() > 0.25
        prior = 0.6 * prior + (5.0 * view.foreground - (3.5 if moves else 0.5))
    mask = inside & (prior > 0)
    for _ in range(3):
        colour = _log_ratio(view.bins, mask.astype(np.float32), (around & ~mask).astype(np.float32), 2.5)
        mask = inside & (cv2.GaussianBlur((prior + colour).astype(np.float32), (0, 0), 1.5) > 0)
    if mask.sum() < 0.1 * inside.sum():
        mask = inside & (distance < 1)
    refined = _grab_cut(view, mask, inside, part)
    if view.foreground is not None and view.foreground[mask].mean() > 0.5:  # a moving target has no still pixels
        refined = (refined | mask) & cv2.dilate((view.foreground > 0.3).astype(np.uint8), np.ones((5, 5))).astype(bool)
    agreement = np.count_nonzero(refined & mask) / max(np.count_nonzero(refined | mask), 1)
    return refined if agreement > 0.6 else mask


def _grab_cut(
    view: View, mask: Bool[np.ndarray, "h w"], inside: Bool[np.ndarray, "h w"], part: tuple[slice, slice]
) -> Bool[np.ndarray, "h w"]:
    """OpenCV's GrabCut within `part` of the frame, from a mask that is probably right."""
    import cv2

    labels = np.where(mask, cv2.GC_PR_FGD, np.where(inside, cv2.GC_PR_BGD, cv2.GC_BGD)).astype(np.uint8)[part].copy()
    cv2.setRNGSeed(0)  # its k-means draws from OpenCV's own generator
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(np.ascontiguousarray(view.rgb[part]), labels, (0, 0, 0, 0), *models, 2, cv2.GC_INIT_WITH_MASK)
    refined = np.zeros(mask.shape, bool)
    refined[part] = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    return refined


def _log_ratio(bins: np.ndarray, on: np.ndarray, off: np.ndarray, limit: float) -> Float32[np.ndarray, "h w"]:
    """Log-odds of each pixel's colour, from the histograms of the frame under two weightings of its pixels."""
    ratio = np.log((histogram(bins, on) + 2e-5) / (histogram(bins, off) + 2e-5)).clip(-limit, limit)
    return ratio.astype(np.float32)[bins]


def histogram(bins: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """float64[bins]: the weighted colour histogram, smoothed over neighbouring bins, with sum 1."""
    counts = np.bincount(bins.ravel(), weights.ravel(), minlength=COLOUR_BINS).reshape(16, 16, 16)
    for axis in range(3):
        wide = np.pad(counts, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
        low, high = np.take(wide, range(16), axis), np.take(wide, range(2, 18), axis)
        counts = 0.6 * counts + 0.2 * low + 0.2 * high
    return counts.ravel() / max(counts.sum(), 1e-9)
