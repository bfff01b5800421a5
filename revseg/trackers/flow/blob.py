"""A moving region of one flat colour: its shape, its position, and how it is found on the next frame."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from revseg.masks.dense import tight_box


@dataclass(eq=False)
class Blob:
    """One thing of the target's colour: its position, and its shape when nothing hides it."""

    form: Bool[np.ndarray, "a b"]
    centre: Float64[np.ndarray, " 2"]  # (y, x)
    velocity: Float64[np.ndarray, " 2"]
    lost: int = 0  # frames since it was last visible
    fresh: bool = True  # visible on one frame so far, so its velocity is unknown
    hidden: float = 0.0  # share of the form covered by something else, neither the colour nor background

    @property
    def area(self) -> int:
        return int(np.count_nonzero(self.form))

    @property
    def extent(self) -> float:
        return float(max(self.form.shape))

    def predicted(self) -> Float64[np.ndarray, " 2"]:
        return self.centre + self.velocity

    def align(self, of_colour: Bool[np.ndarray, "h w"], background: Bool[np.ndarray, "h w"]) -> float:
        """Moves to the best match of the form near the prediction; gives the share of the form visible there.

        Pixels of the colour under the form count for a position and background pixels against it; others count
        nothing, since they may hide the blob. Among equal positions the one nearest to the prediction is taken.
        """
        import cv2

        reach = int(np.ceil(2 * np.abs(self.velocity).max() + (0.35 if self.fresh else 0.1) * self.extent)) + 2
        reach += 2 * min(self.lost, 5)
        a, b = self.form.shape
        corner = np.rint(self.predicted() - np.asarray(self.form.shape) / 2).astype(int)
        evidence = _window(of_colour.astype(np.float32) - background, corner - reach, (a + 2 * reach, b + 2 * reach))
        fit = cv2.matchTemplate(evidence, self.form.astype(np.float32), cv2.TM_CCORR)
        moves = np.arange(-reach, reach + 1)
        distance = np.hypot(moves[:, None], moves[None]).astype(np.float32)
        dy, dx = np.unravel_index(int(np.argmax(np.rint(fit) - 0.02 * distance)), fit.shape)
        corner = corner + np.asarray([dy - reach, dx - reach])
        self.centre = corner + np.asarray(self.form.shape) / 2
        visible = _window(of_colour, corner, (a, b)) & self.form
        bare = _window(background, corner, (a, b)) & self.form
        self.hidden = 1.0 - float(np.count_nonzero(visible | bare) / self.area)
        # a form that covers more background than colour is absent, even if it touches another blob
        return float(np.count_nonzero(visible) / self.area) if visible.sum() > bare.sum() else 0.0

    def see(self, seen: Bool[np.ndarray, "h w"], before: np.ndarray, whole: bool) -> bool:
        """Updates the blob with the region it was seen in; True when all of it is visible.

        `whole`: no other blob is in the region.
        """
        form, centre = cut_out(seen)
        alike = likeness(form, self.form) > 0.9 and 0.9 < form.sum() / self.area < 1.1
        full = bool(whole and (self.hidden < 0.02 or alike))
        if (whole and self.hidden < 0.02) or (whole and form.sum() > 1.1 * self.area):
            self.form, self.centre = form, centre
        moved = (self.centre - before) / (self.lost + 1)
        weight = 1.0 if self.fresh else 0.6 if full else 0.3
        self.velocity = (1 - weight) * self.velocity + weight * moved
        self.fresh, self.lost = False, 0
        return full

    def miss(self, before: np.ndarray) -> None:
        """Updates the blob on a frame without it: it moves on, with a velocity that decays."""
        self.centre = before + self.velocity
        self.velocity = self.velocity * 0.9
        self.lost += 1


def likeness(one: Bool[np.ndarray, "a b"], other: Bool[np.ndarray, "c d"]) -> float:
    """IoU of two shapes, each scaled to fit a square of 32 pixels with its aspect ratio kept."""
    import cv2

    def scaled(form: np.ndarray) -> np.ndarray:
        a, b = form.shape
        unit = 32 / max(a, b)
        small = cv2.resize(
            form.astype(np.float32), (max(round(b * unit), 1), max(round(a * unit), 1)), interpolation=cv2.INTER_AREA
        )
        square = np.zeros((32, 32), bool)
        y, x = (32 - small.shape[0]) // 2, (32 - small.shape[1]) // 2
        square[y : y + small.shape[0], x : x + small.shape[1]] = small > 0.5
        return square

    a, b = scaled(one), scaled(other)
    return float(np.count_nonzero(a & b) / max(np.count_nonzero(a | b), 1))


def cut_out(mask: Bool[np.ndarray, "h w"]) -> tuple[Bool[np.ndarray, "a b"], Float64[np.ndarray, " 2"]]:
    """A mask cropped to its tight box, and the box's centre (y, x)."""
    box = tight_box(mask)
    assert box is not None  # every blob has a pixel
    x1, y1, x2, y2 = box
    return mask[y1:y2, x1:x2], np.asarray([y1 + y2, x1 + x2]) / 2


def _window(whole: np.ndarray, corner: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A part of a frame [h w] from `corner` (y, x) on; zeros outside the frame."""
    part = np.zeros(size, whole.dtype)
    (y, x), (a, b) = corner, size
    top, left, bottom, right = max(y, 0), max(x, 0), min(y + a, whole.shape[0]), min(x + b, whole.shape[1])
    if top < bottom and left < right:
        part[top - y : bottom - y, left - x : right - x] = whole[top:bottom, left:right]
    return part


def pasted(form: Bool[np.ndarray, "a b"], centre: np.ndarray, size: tuple[int, ...]) -> Bool[np.ndarray, "h w"]:
    """The form on an empty frame, centred at `centre` and cropped to the frame."""
    whole = np.zeros(size, bool)
    y, x = np.rint(centre - np.asarray(form.shape) / 2).astype(int)
    top, left = max(y, 0), max(x, 0)
    bottom, right = min(y + form.shape[0], size[0]), min(x + form.shape[1], size[1])
    if top < bottom and left < right:
        whole[top:bottom, left:right] = form[top - y : bottom - y, left - x : right - x]
    return whole


def grown(mask: Bool[np.ndarray, "h w"], margin: int) -> Bool[np.ndarray, "h w"]:
    """The mask dilated by a square of `margin` pixels on each side."""
    import cv2

    return cv2.dilate(mask.view(np.uint8), np.ones((2 * margin + 1,) * 2, np.uint8)).astype(bool)
