"""Masks as SVG paths, for pages that draw them over a picture, or over nothing where the video is not at hand."""

import numpy as np
from jaxtyping import Bool

from revseg.masks.dense import tight_box

WIDTH = 320  # columns that a mask is outlined at: finer is not seen, coarser shows
SLACK = 0.7  # how far, in these columns, an outline may be from the pixels' edge


def outline(mask: Bool[np.ndarray, "h w"]) -> str:
    """The `d` of an SVG path in a view box "0 0 w h" of the mask's size, for the rule evenodd; "" when it is empty."""
    import cv2

    box = tight_box(mask)
    if box is None:
        return ""
    h, w = mask.shape
    scale = WIDTH / w
    size = (WIDTH, max(1, round(h * scale)))
    drawn = cv2.resize(mask.astype(np.uint8) * 255, size, interpolation=cv2.INTER_AREA if scale < 1 else 0)
    drawn = np.asarray(drawn) > 127
    inner = tight_box(drawn)
    if inner is None:  # too thin for this width: draw its box
        x1, y1, x2, y2 = box
        return f"M{x1} {y1}L{x2} {y1}L{x2} {y2}L{x1} {y2}Z"
    left, top, right, bottom = inner
    part = np.pad(drawn[top:bottom, left:right].astype(np.uint8), 1)
    # A border of one pixel and twice the size put the contour on the pixels' edges, not on their centres.
    twice = cv2.resize(part, (part.shape[1] * 2, part.shape[0] * 2), interpolation=cv2.INTER_NEAREST)
    found, _ = cv2.findContours(twice, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    parts = []
    for contour in found:
        points = cv2.approxPolyDP(contour, 2 * SLACK, closed=True)[:, 0].astype(np.float64)
        places = ((points + 0.5) / 2 - 1 + [left, top]) / [size[0] / w, size[1] / h]
        parts.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places.tolist()) + "Z")
    return "".join(parts)
