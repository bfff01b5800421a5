"""Tracking a subject of real footage from a box, without weights: the probability of every pixel to be the target.

The probability map of the previous frame is carried along by optical flow and by the box of a correlation filter
(CSRT). It is then corrected by two kinds of evidence: colour (histograms of the target and of the rest), and the plate
(a pixel that looks like the still background is not the target, unless the target itself stood still there). Other
moving things have a map of their own, so that a target out of sight is not taken for one of them.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from revseg.grounding.boxes import box_iou
from revseg.masks.dense import tight_box
from revseg.trackers.flow.first_mask import first_mask, histogram
from revseg.trackers.flow.scene import View

_SURE = 0.98  # prior probabilities are clipped to 1 - _SURE.._SURE


class RealFollower:
    """Follows one subject; see the module docstring."""

    def __init__(self, view: View, box: np.ndarray) -> None:
        import cv2

        scale = np.tile([view.gray.shape[1] / view.size[1], view.gray.shape[0] / view.size[0]], 2)
        self._box = np.asarray(box, np.float64) * scale
        first = first_mask(view, self._box)
        moving = _foreground(view)
        self._mover = bool(moving[first].mean() > 0.5)
        self._probability = cv2.GaussianBlur(first.astype(np.float32), (0, 0), 1.0)
        self._others = moving * (_outside(self._box, first.shape) > 0.05)
        self._area = float(first.sum())
        self._still = view.to_plate(first & (moving < 0.5) & (not self._mover))
        self._target = histogram(view.bins, first.astype(np.float32))
        self._rest = histogram(view.bins, 1 - first.astype(np.float32))
        self._filter = _csrt(view, self._box)
        self._rigid = 0.7  # running IoU of the filter's boxes with the flow's: high for rigid targets such as a ball
        self._fresh = True
        self._lost = 0

    def step(self, view: View) -> tuple[Bool[np.ndarray, "h w"], float]:
        """The mask of the target at the source's size, and a confidence in [0, 1]."""
        import cv2

        confidence = 0.9
        if not self._fresh:
            confidence = self._search(view) if self._lost else self._follow(view)
        self._fresh = False
        if self._lost:
            return np.zeros(view.size, bool), confidence
        return cv2.resize(self._probability, view.size[::-1], interpolation=cv2.INTER_LINEAR) > 0.5, confidence

    def _follow(self, view: View) -> float:
        """Updates the map on the next frame while the target is visible; gives the confidence."""
        import cv2

        carried, others = self._carry(view, self._probability), self._carry(view, self._others)
        expected, agreed = self._expect(view, carried)
        carried = 0.6 * carried + 0.4 * _moved(self._probability, self._box, expected)
        moving = _foreground(view)
        outside = _outside(expected, moving.shape)
        known = cv2.blur((carried + others).clip(0, 1) * moving, (15, 15)) + 0.02
        near = cv2.blur(carried * moving, (15, 15)) / known
        prior = np.where((moving > 0.5) & (outside < 0.2), np.maximum(carried, 0.7 * near * (1 - others)), carried)
        logit = _logit(prior) + self._evidence(view, moving) - 8.0 * (outside - 0.1).clip(0)
        probability = 1 / (1 + np.exp(-cv2.GaussianBlur(logit, (0, 0), 1.5).clip(-30, 30)))
        mask = _connected(probability > 0.5, prior)
        if mask.sum() < 0.08 * self._area:
            self._lost, self._others = 1, np.maximum(others, moving * (outside > 0.1))
            return 0.3
        self._probability = np.where(mask, probability, np.minimum(probability, 0.3)).astype(np.float32)
        self._others = moving * (1 - self._probability) * np.maximum(others, outside > 0.1)
        self._box = 0.5 * expected + 0.5 * _box_around(mask)
        return float(np.clip(probability[mask].mean() * (0.4 + 0.5 * agreed), 0.05, 0.95))

    def _carry(self, view: View, values: np.ndarray) -> np.ndarray:
        """A map of the previous frame, warped to this one by the optical flow."""
        import cv2

        assert view.flow is not None
        return cv2.remap(values, *view.flow, cv2.INTER_LINEAR)

    def _expect(self, view: View, carried: np.ndarray) -> tuple[np.ndarray, float]:
        """The target's box, combined from optical flow and correlation filter, and the IoU of the two."""
        solid = carried > 0.5
        by_flow = _box_around(solid) if solid.sum() > 4 else self._box
        ok, (x, y, w, h) = self._filter.update(view.rgb)
        by_filter = np.asarray([x, y, x + w, y + h], np.float64)
        agreed = box_iou(by_flow, by_filter) if ok else 0.0
        doubt = 0.6 * (0.6 - self._rigid)  # lower for targets that the filter has followed well so far
        if agreed > 0.4 or (ok and self._looks(view, by_filter) > self._looks(view, by_flow) + doubt):
            share = float(np.clip(self._rigid, 0.3, 0.9)) if agreed > 0.4 else 1.0
            self._rigid = 0.95 * self._rigid + 0.05 * agreed
            return (1 - share) * by_flow + share * by_filter, agreed
        self._filter = _csrt(view, by_flow)
        self._rigid *= 0.8
        return by_flow, agreed

    def _looks(self, view: View, box: np.ndarray) -> float:
        """Histogram intersection, in [0, 1], of the moving pixels in a box with the target."""
        inside = (_outside(box, view.gray.shape) == 0) * (_foreground(view) + 0.1)
        return float(np.minimum(histogram(view.bins, inside), self._target).sum())

    def _search(self, view: View) -> float:
        """The next frame while the target is lost: a new moving region with its colours is taken for it."""
        import cv2

        moving = _foreground(view)
        others = self._carry(view, self._others)
        self._others = moving * np.maximum(others, (cv2.blur(others * moving, (9, 9)) > 0.3) * 0.9)
        self._lost += 1
        likely = (moving > 0.5) & (self._others < 0.5)
        likely = cv2.morphologyEx(likely.view(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
        _, labels, stats, _ = cv2.connectedComponentsWithStats(likely, connectivity=8)
        best, found = 0.5, 0
        for r in np.flatnonzero(stats[1:, cv2.CC_STAT_AREA] > 0.2 * self._area) + 1:
            colours = histogram(view.bins, (labels == r).astype(np.float32))
            alike = float(np.minimum(colours, self._target).sum())
            if alike > best:
                best, found = alike, r
        if not found:
            return 0.5
        mask = labels == found
        self._probability = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.0)
        self._box, self._lost = _box_around(mask), 0
        self._filter = _csrt(view, self._box)
        return 0.4

    def _evidence(self, view: View, moving: np.ndarray) -> Float32[np.ndarray, "h w"]:
        """Log-odds of each pixel by colour and by the plate."""
        ratio = np.log((self._target + 2e-5) / (self._rest + 2e-5)).clip(-2.0, 2.0).astype(np.float32)[view.bins]
        if view.foreground is None:
            return ratio
        plate = (1 - moving) * np.where(view.from_plate(self._still) > 0.5, 1.5, -2.5) + moving
        return (ratio * np.where(moving > 0.5, 0.6, 1.0) + plate).astype(np.float32)


def _box_around(mask: Bool[np.ndarray, "h w"]) -> np.ndarray:
    """float64[4]: the tight box of a non-empty mask, xyxy in pixels."""
    return np.asarray(tight_box(mask), np.float64)


def _foreground(view: View) -> Float32[np.ndarray, "h w"]:
    return view.foreground if view.foreground is not None else np.zeros(view.gray.shape, np.float32)


def _logit(probability: np.ndarray) -> np.ndarray:
    clipped = np.clip(probability, 1 - _SURE, _SURE)
    return np.log(clipped / (1 - clipped))


def _outside(box: np.ndarray, size: tuple[int, ...]) -> Float32[np.ndarray, "h w"]:
    """Distance of each pixel to a box, in units of the box's width and height; 0 inside."""
    x, y = np.arange(size[1], dtype=np.float32) + 0.5, np.arange(size[0], dtype=np.float32) + 0.5
    side = np.maximum(box[2:] - box[:2], 8.0).astype(np.float32)
    across = np.maximum(np.maximum(box[0] - x, x - box[2]), 0) / side[0]
    down = np.maximum(np.maximum(box[1] - y, y - box[3]), 0) / side[1]
    return np.maximum(across[None], down[:, None]).astype(np.float32)


def _csrt(view: View, box: np.ndarray) -> Any:
    """OpenCV's correlation filter, initialised on a box."""
    import cv2

    h, w = view.gray.shape
    x1, y1, x2, y2 = np.rint(box).astype(int).tolist()
    x1, y1 = min(max(x1, 0), w - 4), min(max(y1, 0), h - 4)
    found = cv2.TrackerCSRT_create()  # pyright: ignore[reportAttributeAccessIssue]
    found.init(view.rgb, (x1, y1, max(min(x2, w) - x1, 4), max(min(y2, h) - y1, 4)))
    return found


def _moved(values: np.ndarray, box: np.ndarray, to: np.ndarray) -> np.ndarray:
    """A map shifted and scaled so that `box` is mapped to `to`."""
    import cv2

    zoom = (to[2:] - to[:2]) / np.maximum(box[2:] - box[:2], 1)
    shift = to[:2] - box[:2] * zoom
    matrix = np.asarray([[zoom[0], 0, shift[0]], [0, zoom[1], shift[1]]])
    return cv2.warpAffine(values, matrix, values.shape[::-1])


def _connected(mask: Bool[np.ndarray, "h w"], expected: np.ndarray) -> Bool[np.ndarray, "h w"]:
    """The connected regions of a mask in which the target is expected."""
    import cv2

    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    inside = np.bincount(labels.ravel(), expected.ravel(), minlength=len(stats))
    areas = stats[:, cv2.CC_STAT_AREA]
    keep = (inside > 0.3 * areas) & (areas > 0.02 * areas[1:].max(initial=0))
    keep[0] = False
    return keep[labels]
