"""Masks as SVG paths, which pages draw over a picture, or over an empty ground where there is no video."""

import numpy as np
from jaxtyping import Bool

from revseg.masks.dense import tight_box

WIDTH = 320  # masks are resized to this many columns first: finer detail is not visible
TOLERANCE = 0.7  # most distance, in these columns, between an outline and the edge of the pixels


def outline(mask: Bool[np.ndarray, "h w"]) -> str:
    """The `d` of an SVG path, fill rule evenodd, in a view box "0 0 w h" of the mask's size; "" for an empty mask."""
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
    if inner is None:  # too thin for this width: show its box
        x1, y1, x2, y2 = box
        return f"M{x1} {y1}L{x2} {y1}L{x2} {y2}L{x1} {y2}Z"
    left, top, right, bottom = inner
    part = np.pad(drawn[top:bottom, left:right].astype(np.uint8), 1)
    # With a border of one pixel and at twice the size, contours run on the edges of pixels, not through their centres.
    twice = cv2.resize(part, (part.shape[1] * 2, part.shape[0] * 2), interpolation=cv2.INTER_NEAREST)
    found, _ = cv2.findContours(twice, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    parts = []
    for contour in found:
        points = cv2.approxPolyDP(contour, 2 * TOLERANCE, closed=True)[:, 0].astype(np.float64)
        places = ((points + 0.5) / 2 - 1 + [left, top]) / [size[0] / w, size[1] / h]
        parts.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places.tolist()) + "Z")
    return "".join(parts)
