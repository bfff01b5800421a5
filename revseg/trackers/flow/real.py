"""Following a subject of real footage from a box, without weights: every pixel's chance of being the target.

The chance on a new frame starts from the one on the frame before, carried along by optical flow and by the box of a
correlation filter (CSRT), and is corrected by two witnesses: colour (histograms of the target and of the rest) and
the plate (a pixel that looks like the still background is not the target, unless the target itself stood still
there). Other movers keep a label of their own, so that a target that was lost is not taken for one of them.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from revseg.grounding.boxes import box_iou
from revseg.masks.dense import tight_box
from revseg.trackers.flow.scene import COLOUR_BINS, View

_SURE = 0.98  # no pixel's chance is taken for more certain than this before the witnesses speak


class RealFollower:
    """Follows one subject. See the module."""

    def __init__(self, view: View, box: np.ndarray) -> None:
        import cv2

        scale = np.tile([view.gray.shape[1] / view.size[1], view.gray.shape[0] / view.size[0]], 2)
        self._box = np.asarray(box, np.float64) * scale
        first = first_mask(view, self._box)
        moving = _foreground(view)
        self._mover = bool(moving[first].mean() > 0.5)
        self._chance = cv2.GaussianBlur(first.astype(np.float32), (0, 0), 1.0)
        self._others = moving * (_outside(self._box, first.shape) > 0.05)
        self._area = float(first.sum())
        self._still = view.to_plate(first & (moving < 0.5) & (not self._mover))
        self._target = histogram(view.bins, first.astype(np.float32))
        self._rest = histogram(view.bins, 1 - first.astype(np.float32))
        self._filter = _csrt(view, self._box)
        self._rigid = 0.7  # how well the filter's boxes have agreed with the mask's so far: high for a ball
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
        return cv2.resize(self._chance, view.size[::-1], interpolation=cv2.INTER_LINEAR) > 0.5, confidence

    def _follow(self, view: View) -> float:
        """The next frame while the target is in sight."""
        import cv2

        carried, others = self._carry(view, self._chance), self._carry(view, self._others)
        expected, agreed = self._expect(view, carried)
        carried = 0.6 * carried + 0.4 * _moved(self._chance, self._box, expected)
        moving = _foreground(view)
        outside = _outside(expected, moving.shape)
        known = cv2.blur((carried + others).clip(0, 1) * moving, (15, 15)) + 0.02
        near = cv2.blur(carried * moving, (15, 15)) / known
        prior = np.where((moving > 0.5) & (outside < 0.2), np.maximum(carried, 0.7 * near * (1 - others)), carried)
        logit = _logit(prior) + self._witnesses(view, moving) - 8.0 * (outside - 0.1).clip(0)
        chance = 1 / (1 + np.exp(-cv2.GaussianBlur(logit, (0, 0), 1.5).clip(-30, 30)))
        mask = _connected(chance > 0.5, prior)
        if mask.sum() < 0.08 * self._area:
            self._lost, self._others = 1, np.maximum(others, moving * (outside > 0.1))
            return 0.3
        self._chance = np.where(mask, chance, np.minimum(chance, 0.3)).astype(np.float32)
        self._others = moving * (1 - self._chance) * np.maximum(others, outside > 0.1)
        self._box = 0.5 * expected + 0.5 * _box_around(mask)
        return float(np.clip(chance[mask].mean() * (0.4 + 0.5 * agreed), 0.05, 0.95))

    def _carry(self, view: View, picture: np.ndarray) -> np.ndarray:
        """A picture of the frame before, moved along with what it shows."""
        import cv2

        assert view.flow is not None
        return cv2.remap(picture, *view.flow, cv2.INTER_LINEAR)

    def _expect(self, view: View, carried: np.ndarray) -> tuple[np.ndarray, float]:
        """The target's box by the flow and by the correlation filter, and how far the two agree (IoU)."""
        solid = carried > 0.5
        by_flow = _box_around(solid) if solid.sum() > 4 else self._box
        ok, (x, y, w, h) = self._filter.update(view.rgb)
        by_filter = np.asarray([x, y, x + w, y + h], np.float64)
        agreed = box_iou(by_flow, by_filter) if ok else 0.0
        doubt = 0.6 * (0.6 - self._rigid)  # what followed the filter's box so far has to look better elsewhere by less
        if agreed > 0.4 or (ok and self._looks(view, by_filter) > self._looks(view, by_flow) + doubt):
            share = float(np.clip(self._rigid, 0.3, 0.9)) if agreed > 0.4 else 1.0
            self._rigid = 0.95 * self._rigid + 0.05 * agreed
            return (1 - share) * by_flow + share * by_filter, agreed
        self._filter = _csrt(view, by_flow)
        self._rigid *= 0.8
        return by_flow, agreed

    def _looks(self, view: View, box: np.ndarray) -> float:
        """How much a box looks like the target, in [0, 1]: the histogram of what moves in it against the target's."""
        inside = (_outside(box, view.gray.shape) == 0) * (_foreground(view) + 0.1)
        return float(np.minimum(histogram(view.bins, inside), self._target).sum())

    def _search(self, view: View) -> float:
        """The next frame while the target is out of sight: anything new that moves and has its colours is it."""
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
        self._chance = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.0)
        self._box, self._lost = _box_around(mask), 0
        self._filter = _csrt(view, self._box)
        return 0.4

    def _witnesses(self, view: View, moving: np.ndarray) -> Float32[np.ndarray, "h w"]:
        """Log-odds of what colour and plate say of each pixel."""
        ratio = np.log((self._target + 2e-5) / (self._rest + 2e-5)).clip(-2.0, 2.0).astype(np.float32)[view.bins]
        if view.foreground is None:
            return ratio
        plate = (1 - moving) * np.where(view.from_plate(self._still) > 0.5, 1.5, -2.5) + moving
        return (ratio * np.where(moving > 0.5, 0.6, 1.0) + plate).astype(np.float32)


def first_mask(view: View, box: np.ndarray) -> Bool[np.ndarray, "h w"]:
    """The target within its box, by colour, place and movement; GrabCut draws its outline where that holds up."""
    import cv2

    h, w = view.gray.shape
    x1, y1 = np.floor(box[:2]).astype(int).clip(0, (w - 2, h - 2))
    x2, y2 = np.maximum(np.ceil(box[2:]).astype(int).clip(0, (w, h)), (x1 + 2, y1 + 2))
    inside = np.zeros((h, w), bool)
    inside[y1:y2, x1:x2] = True
    pad = int(0.4 * max(x2 - x1, y2 - y1)) + 4
    around = np.zeros((h, w), bool)
    around[max(y1 - pad, 0) : y2 + pad, max(x1 - pad, 0) : x2 + pad] = True
    away = np.hypot(
        (np.arange(w)[None] - (x1 + x2) / 2) / (x2 - x1) * 2, (np.arange(h)[:, None] - (y1 + y2) / 2) / (y2 - y1) * 2
    )
    place = 1.2 - 1.8 * away**2  # log-odds by the distance from the middle, 1 at the middles of the sides
    if view.foreground is not None:
        mover = view.foreground[inside].mean() > 0.25
        place = 0.6 * place + (5.0 * view.foreground - (3.5 if mover else 0.5))
    mask = inside & (place > 0)
    for _ in range(3):
        colour = _log_ratio(view.bins, mask.astype(np.float32), (around & ~mask).astype(np.float32), 2.5)
        mask = inside & (cv2.GaussianBlur((place + colour).astype(np.float32), (0, 0), 1.5) > 0)
    if mask.sum() < 0.1 * inside.sum():
        mask = inside & (away < 1)
    trimap = np.where(mask, cv2.GC_PR_FGD, np.where(inside, cv2.GC_PR_BGD, cv2.GC_BGD)).astype(np.uint8)
    part = np.s_[max(y1 - pad, 0) : y2 + pad, max(x1 - pad, 0) : x2 + pad]
    cut = trimap[part].copy()
    cv2.setRNGSeed(0)  # its k-means draws from OpenCV's own generator
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(np.ascontiguousarray(view.rgb[part]), cut, (0, 0, 0, 0), *models, 2, cv2.GC_INIT_WITH_MASK)
    drawn = np.zeros((h, w), bool)
    drawn[part] = (cut == cv2.GC_FGD) | (cut == cv2.GC_PR_FGD)
    if view.foreground is not None and view.foreground[mask].mean() > 0.5:  # a mover: what stands still is not of it
        drawn = (drawn | mask) & cv2.dilate((view.foreground > 0.3).astype(np.uint8), np.ones((5, 5))).astype(bool)
    both = np.count_nonzero(drawn & mask) / max(np.count_nonzero(drawn | mask), 1)
    return drawn if both > 0.6 else mask


def _log_ratio(bins: np.ndarray, on: np.ndarray, off: np.ndarray, limit: float) -> Float32[np.ndarray, "h w"]:
    """Log-odds of each pixel's colour by the histograms of two weightings of the pixels."""
    ratio = np.log((histogram(bins, on) + 2e-5) / (histogram(bins, off) + 2e-5)).clip(-limit, limit)
    return ratio.astype(np.float32)[bins]


def histogram(bins: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """float64[bins], sum 1: colours by weight, each a little spread over its neighbours."""
    counts = np.bincount(bins.ravel(), weights.ravel(), minlength=COLOUR_BINS).reshape(16, 16, 16)
    for axis in range(3):
        wide = np.pad(counts, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
        low, high = np.take(wide, range(16), axis), np.take(wide, range(2, 18), axis)
        counts = 0.6 * counts + 0.2 * low + 0.2 * high
    return counts.ravel() / max(counts.sum(), 1e-9)


def _box_around(mask: Bool[np.ndarray, "h w"]) -> np.ndarray:
    """float64[4]: the tight box of a non-empty mask, xyxy in pixels."""
    return np.asarray(tight_box(mask), np.float64)


def _foreground(view: View) -> Float32[np.ndarray, "h w"]:
    return view.foreground if view.foreground is not None else np.zeros(view.gray.shape, np.float32)


def _logit(chance: np.ndarray) -> np.ndarray:
    kept = np.clip(chance, 1 - _SURE, _SURE)
    return np.log(kept / (1 - kept))


def _outside(box: np.ndarray, size: tuple[int, ...]) -> Float32[np.ndarray, "h w"]:
    """How far each pixel is outside a box, in units of the box's width and height; 0 inside."""
    x, y = np.arange(size[1], dtype=np.float32) + 0.5, np.arange(size[0], dtype=np.float32) + 0.5
    side = np.maximum(box[2:] - box[:2], 8.0).astype(np.float32)
    across = np.maximum(np.maximum(box[0] - x, x - box[2]), 0) / side[0]
    down = np.maximum(np.maximum(box[1] - y, y - box[3]), 0) / side[1]
    return np.maximum(across[None], down[:, None]).astype(np.float32)


def _csrt(view: View, box: np.ndarray) -> Any:
    """OpenCV's correlation filter, started on a box."""
    import cv2

    h, w = view.gray.shape
    x1, y1, x2, y2 = np.rint(box).astype(int).tolist()
    x1, y1 = min(max(x1, 0), w - 4), min(max(y1, 0), h - 4)
    found = cv2.TrackerCSRT_create()  # pyright: ignore[reportAttributeAccessIssue]
    found.init(view.rgb, (x1, y1, max(min(x2, w) - x1, 4), max(min(y2, h) - y1, 4)))
    return found


def _moved(picture: np.ndarray, box: np.ndarray, to: np.ndarray) -> np.ndarray:
    """A picture shifted and scaled so that `box` comes to lie on `to`."""
    import cv2

    zoom = (to[2:] - to[:2]) / np.maximum(box[2:] - box[:2], 1)
    shift = to[:2] - box[:2] * zoom
    matrix = np.asarray([[zoom[0], 0, shift[0]], [0, zoom[1], shift[1]]])
    return cv2.warpAffine(picture, matrix, picture.shape[::-1])


def _connected(mask: Bool[np.ndarray, "h w"], expected: np.ndarray) -> Bool[np.ndarray, "h w"]:
    """The regions of a mask that lie where the target is expected."""
    import cv2

    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    inside = np.bincount(labels.ravel(), expected.ravel(), minlength=len(stats))
    areas = stats[:, cv2.CC_STAT_AREA]
    keep = (inside > 0.3 * areas) & (areas > 0.02 * areas[1:].max(initial=0))
    keep[0] = False
    return keep[labels]
