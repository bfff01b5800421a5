"""Following a subject of real footage from a box, without weights: every pixel's chance of being the target.

The chance on a new frame starts from the one on the frame before, carried along by optical flow and by the box of a
correlation filter (CSRT), and is corrected by two witnesses: colour (histograms of the target and of the rest) and
the plate (a pixel that looks like the still background is not the target, unless the target itself stood still
there). Other movers keep a label of their own, so that a target that was lost is not taken for one of them.
"""

import numpy as np
from jaxtyping import Bool, Float32

from revseg.trackers.flow_scene import COLOUR_BINS, View

_NO_MAP = np.empty(0, np.float32)
_SURE = 0.98  # no pixel's chance is taken for more certain than this before the witnesses speak


class RealFollower:
    """Follows one subject. See the module."""

    def __init__(self, view: View, box: np.ndarray) -> None:
        import cv2

        scale = np.tile([view.gray.shape[1] / view.size[1], view.gray.shape[0] / view.size[0]], 2)
        self._box = np.asarray(box, np.float64) * scale
        first = first_mask(view, self._box)
        self._chance = cv2.GaussianBlur(first.astype(np.float32), (0, 0), 1.0)
        self._others = _foreground(view) * (1 - self._chance)
        self._area = float(first.sum())
        self._still = view.to_plate(first & (_foreground(view) < 0.5))
        self._target = histogram(view.bins, first.astype(np.float32))
        self._rest = histogram(view.bins, 1 - first.astype(np.float32))
        self._filter = cv2.TrackerCSRT_create()  # pyright: ignore[reportAttributeAccessIssue]
        self._filter.init(view.rgb, _xywh(self._box))
        self._fresh = True
        self._lost = 0

    def step(self, view: View) -> tuple[Bool[np.ndarray, "h w"], float]:
        """The mask of the target at the source's size, and a confidence in [0, 1]."""
        import cv2

        confidence = 0.9
        if not self._fresh:
            confidence = self._follow(view) if not self._lost else self._search(view)
        self._fresh = False
        if self._lost:
            return np.zeros(view.size, bool), confidence
        return cv2.resize(self._chance, view.size[::-1], interpolation=cv2.INTER_LINEAR) > 0.5, confidence

    def _follow(self, view: View) -> float:
        import cv2

        assert view.flow is not None
        carried = cv2.remap(self._chance, view.flow, _NO_MAP, cv2.INTER_LINEAR)
        others = cv2.remap(self._others, view.flow, _NO_MAP, cv2.INTER_LINEAR)
        ok, xywh = self._filter.update(view.rgb)
        if ok:
            box = np.asarray([xywh[0], xywh[1], xywh[0] + xywh[2], xywh[1] + xywh[3]], np.float64)
            carried = 0.5 * carried + 0.5 * _moved(self._chance, self._box, box)
        else:
            box = self._box
        moving = _foreground(view)
        near = cv2.blur(carried * moving, (15, 15)) / (
            cv2.blur((carried + others).clip(0, 1) * moving, (15, 15)) + 0.05
        )
        prior = np.where(moving > 0.5, np.maximum(carried, 0.5 * near), carried)
        logit = _logit(prior) + self._colour(view) + self._plate(view, moving)
        chance = 1 / (1 + np.exp(-cv2.GaussianBlur(logit, (0, 0), 1.5)))
        mask = _connected(chance > 0.5, carried)
        self._chance = np.where(mask, chance, np.minimum(chance, 0.3)).astype(np.float32)
        self._others = moving * (1 - self._chance)
        area = float(mask.sum())
        if area < 0.08 * self._area:
            self._lost = 1
            return 0.3
        self._box = tight_box(mask) if not ok else box
        return 0.5

    def _search(self, view: View) -> float:
        self._lost += 1
        return 0.3

    def _colour(self, view: View) -> Float32[np.ndarray, "h w"]:
        """Log-odds of the pixel's colour, target against the rest."""
        ratio = np.log((self._target + 2e-5) / (self._rest + 2e-5)).clip(-2.0, 2.0)
        return ratio.astype(np.float32)[view.bins]

    def _plate(self, view: View, moving: np.ndarray) -> Float32[np.ndarray, "h w"]:
        """Log-odds of what the plate says."""
        if view.foreground is None:
            return np.zeros_like(moving)
        still = view.from_plate(self._still)
        return ((1 - moving) * np.where(still > 0.5, 1.5, -3.0) + moving * 0.7).astype(np.float32)


def first_mask(view: View, box: np.ndarray) -> Bool[np.ndarray, "h w"]:
    """The target within its box: what moves there, or where little moves what GrabCut finds, or an ellipse."""
    import cv2

    h, w = view.gray.shape
    x1, y1 = np.floor(box[:2]).astype(int).clip(0, (w - 2, h - 2))
    x2, y2 = np.maximum(np.ceil(box[2:]).astype(int).clip(0, (w, h)), (x1 + 2, y1 + 2))
    inside = np.zeros((h, w), bool)
    inside[y1:y2, x1:x2] = True
    moving = (_foreground(view) > 0.5) & inside if view.foreground is not None else np.zeros((h, w), bool)
    trimap = np.full((h, w), cv2.GC_BGD, np.uint8)
    mover = moving.sum() > 0.2 * inside.sum()
    ellipse = np.zeros((h, w), np.uint8)
    centre, axes = ((x1 + x2) // 2, (y1 + y2) // 2), ((x2 - x1) // 2, (y2 - y1) // 2)
    cv2.ellipse(ellipse, [int(c) for c in centre], [int(a) for a in axes], 0, 0, 360, 1, -1)
    trimap[inside] = cv2.GC_PR_BGD if mover else cv2.GC_PR_FGD
    trimap[inside & (ellipse == 0)] = cv2.GC_PR_BGD
    trimap[moving] = cv2.GC_PR_FGD
    cv2.setRNGSeed(0)
    pad = int(0.3 * max(x2 - x1, y2 - y1)) + 4
    part = np.s_[max(y1 - pad, 0) : y2 + pad, max(x1 - pad, 0) : x2 + pad]
    cut = trimap[part].copy()
    cv2.grabCut(
        np.ascontiguousarray(view.rgb[part]), cut, (0, 0, 0, 0), np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_MASK
    )
    mask = np.zeros((h, w), bool)
    mask[part] = (cut == cv2.GC_FGD) | (cut == cv2.GC_PR_FGD)
    mask |= cv2.morphologyEx(moving.view(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)).astype(bool)
    if mask.sum() < 0.2 * inside.sum():
        mask |= ellipse.astype(bool)
    return mask & inside


def histogram(bins: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """float64[bins], sum 1: colours by weight, each a little spread over its neighbours."""
    counts = np.bincount(bins.ravel(), weights.ravel(), minlength=COLOUR_BINS).reshape(16, 16, 16)
    for axis in range(3):
        wide = np.pad(counts, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
        low, high = np.take(wide, range(16), axis), np.take(wide, range(2, 18), axis)
        counts = 0.6 * counts + 0.2 * low + 0.2 * high
    return counts.ravel() / max(counts.sum(), 1e-9)


def tight_box(mask: Bool[np.ndarray, "h w"]) -> np.ndarray:
    """float64[4]: xyxy of a mask that is not empty."""
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.asarray([xs[0], ys[0], xs[-1] + 1, ys[-1] + 1], np.float64)


def _foreground(view: View) -> Float32[np.ndarray, "h w"]:
    return view.foreground if view.foreground is not None else np.zeros(view.gray.shape, np.float32)


def _logit(chance: np.ndarray) -> np.ndarray:
    kept = np.clip(chance, 1 - _SURE, _SURE)
    return np.log(kept / (1 - kept))


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


def _xywh(box: np.ndarray) -> tuple[int, int, int, int]:
    x1, y1, x2, y2 = np.rint(box).astype(int).tolist()
    return x1, y1, max(x2 - x1, 2), max(y2 - y1, 2)
