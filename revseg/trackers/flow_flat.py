"""Following a region of one flat colour: exact where the colour tells it from what it touches.

A frame is split by its own main colours: a pixel is of the target's colour when that is the nearest of them, which
puts a blurred or compressed edge in its middle. Connected regions of the colour are shared out among *blobs*: the
target and every other thing of its colour, each with a place, a speed and a form. So another thing of the same colour
is known for another, and a target that was out of sight is known again by its form.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from revseg.trackers.flow_scene import View

_REACH = 90.0  # RGB distance: no pixel further than this is of the colour, however far the other colours are
_PIECES = 6  # a flat thing shows in at most so many, the colour in at most _REGIONS: real footage has it in specks
_REGIONS = 30
_OTHERS = 12  # things of the target's colour that are told apart at most
_SAME = 0.75  # IoU of two forms, scaled to one size, from which they are one


@dataclass(frozen=True, eq=False)
class Colour:
    """A flat colour and how far its own pixels stray from it."""

    rgb: Float64[np.ndarray, " 3"]
    spread: float  # RGB distance; other colours of the scene are at least this far

    def of(self, frame: np.ndarray) -> Bool[np.ndarray, "h w"]:
        """The pixels of uint8[h w 3] that are nearer to this colour than to any other main colour of the frame."""
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
    """Colours that fill at least this share of a frame (or 20 pixels), by the inner pixels of flat regions alone."""
    import cv2

    stride = max(1, int(np.sqrt(frame.shape[0] * frame.shape[1] / 60_000)))
    gradient = cv2.morphologyEx(frame, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)).max(-1)
    flat = frame[::stride, ::stride][gradient[::stride, ::stride] < 60]
    bins = (flat >> 4).astype(np.int64) @ np.asarray([256, 16, 1])
    counts = np.bincount(bins, minlength=4096)
    big = np.flatnonzero(counts >= max(20 / stride**2, least * frame.shape[0] * frame.shape[1] / stride**2))
    sums = [np.bincount(bins, flat[:, c], minlength=4096)[big] for c in range(3)]
    return np.stack(sums, -1) / counts[big, None]


@dataclass(eq=False)
class Blob:
    """One thing of the target's colour: where it is and how it looks when nothing hides it."""

    form: Bool[np.ndarray, "a b"]
    centre: Float64[np.ndarray, " 2"]  # y, x of the form's middle
    velocity: Float64[np.ndarray, " 2"]
    lost: int = 0  # frames since it was last seen
    fresh: bool = True  # seen once: its velocity is not known
    hidden: float = 0.0  # share of the form over which something else is seen, neither the colour nor background

    @property
    def area(self) -> int:
        return int(np.count_nonzero(self.form))

    @property
    def extent(self) -> float:
        return float(max(self.form.shape))

    def predicted(self) -> Float64[np.ndarray, " 2"]:
        return self.centre + self.velocity

    def align(self, of_colour: Bool[np.ndarray, "h w"], background: Bool[np.ndarray, "h w"]) -> float:
        """Moves to the place near the prediction where the form fits best; the share of it that is seen there.

        Pixels of the colour under the form speak for a place and the background speaks against it; anything else may
        hide the thing and says nothing. Of equal places the one nearest to the prediction is taken.
        """
        import cv2

        reach = int(np.ceil(2 * np.abs(self.velocity).max() + (0.35 if self.fresh else 0.1) * self.extent)) + 2
        reach += 2 * min(self.lost, 5)
        a, b = self.form.shape
        corner = np.rint(self.predicted() - np.asarray(self.form.shape) / 2).astype(int)
        evidence = _window(of_colour.astype(np.float32) - background, corner - reach, (a + 2 * reach, b + 2 * reach))
        fit = cv2.matchTemplate(evidence, self.form.astype(np.float32), cv2.TM_CCORR)
        moves = np.arange(-reach, reach + 1)
        away = np.hypot(moves[:, None], moves[None]).astype(np.float32)
        dy, dx = np.unravel_index(int(np.argmax(np.rint(fit) - 0.02 * away)), fit.shape)
        corner = corner + np.asarray([dy - reach, dx - reach])
        self.centre = corner + np.asarray(self.form.shape) / 2
        there = _window(of_colour, corner, (a, b)) & self.form
        bare = _window(background, corner, (a, b)) & self.form
        self.hidden = 1.0 - float(np.count_nonzero(there | bare) / self.area)
        # a form that lies on more background than colour is not there, whatever bit of another thing it touches
        return float(np.count_nonzero(there) / self.area) if there.sum() > bare.sum() else 0.0

    def see(self, seen: Bool[np.ndarray, "h w"], before: np.ndarray, whole: bool) -> bool:
        """Takes in the region it was seen in; True when that is all of it. `whole`: no other blob is in the region."""
        form, centre = _cut(seen)
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
        """It was not seen: it drifts on, ever slower."""
        self.centre = before + self.velocity
        self.velocity = self.velocity * 0.9
        self.lost += 1


class FlatFollower:
    """Follows one blob of a flat colour, among all others of that colour. See the module."""

    def __init__(self, colour: Colour, first: Bool[np.ndarray, "h w"], others: Sequence[np.ndarray] = ()) -> None:
        form, centre = _cut(first)
        self._colour = colour
        self._target = Blob(form, centre, np.zeros(2))
        self._others: list[Blob] = [Blob(*_cut(other), np.zeros(2)) for other in others]

    @staticmethod
    def start(frame: np.ndarray, box: np.ndarray) -> "FlatFollower | None":
        """A follower of the flat region that fits the box (pixels, xyxy), None when there is none."""
        import cv2

        found = find_flat(frame, box)
        if found is None:
            return None
        colour, first = found
        count, labels = cv2.connectedComponents(colour.of(frame).view(np.uint8), connectivity=8)
        others = [
            (labels == r) & ~first for r in range(1, count)
        ]  # a region cut by the box leaves one thing, not its bits
        others = sorted((o for o in others if np.count_nonzero(o) >= 4), key=np.count_nonzero, reverse=True)[:_OTHERS]
        return FlatFollower(colour, first, others)

    def step(self, view: View) -> tuple[Bool[np.ndarray, "h w"], float]:
        """The visible pixels of the target and a confidence in [0, 1]."""
        import cv2

        frame = view.frame
        of_colour = self._colour.of(frame)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(of_colour.view(np.uint8), connectivity=8)
        areas = stats[:, cv2.CC_STAT_AREA]
        blobs = [self._target, *self._others]
        before = [b.centre for b in blobs]
        hidden = [b.hidden for b in blobs]
        background = _background(frame) & ~of_colour
        cover = [b.align(of_colour, background) if b.lost < 8 else 0.0 for b in blobs]
        seen, shared = _share_out(blobs, cover, labels, areas)
        free = [r for r in range(1, count) if areas[r] >= min(max(4, 0.01 * self._target.area), self._target.area)]
        free = [r for r in free if not any(s[labels == r].any() for s in seen)]
        self._find_again(blobs, seen, labels, free)
        arrived = []
        for i, blob in enumerate(blobs):
            if hidden[i] < 0.05 and cover[i] > 0.9 and i not in shared:
                arrived += _arrivals(blob, seen[i])
                shared |= {i} if arrived else set()
            elif blob.hidden > 0.02 and seen[i].any():
                before[i] = before[i] + _emerge(blob, seen[i], labels, free)
        full = False
        for i, blob in enumerate(blobs):
            if seen[i].any():
                full |= blob.see(seen[i], before[i], i not in shared) and i == 0
            else:
                blob.miss(before[i])
        new = [*arrived, *(labels == r for r in sorted(free, key=lambda r: -areas[r]))]
        self._others += [Blob(*_cut(one), np.zeros(2)) for one in new[: max(_OTHERS - len(self._others), 0)]]
        return seen[0], self._confidence(bool(seen[0].any()), full, 0 in shared, bool(free))

    def _confidence(self, visible: bool, full: bool, divided: bool, doubtful: bool) -> float:
        if not visible:
            return 0.4 if doubtful else 0.9
        return 0.6 if divided else 1.0 if full else 0.85

    def _find_again(self, blobs: list[Blob], seen: list[np.ndarray], labels: np.ndarray, free: list[int]) -> None:
        """Gives regions that nobody claimed to blobs that were not seen, the likeliest first; takes them off `free`."""
        pairs = []
        for r in free:
            form, centre = _cut(labels == r)
            for i, blob in enumerate(blobs):
                if seen[i].any():
                    continue
                away = float(np.linalg.norm(centre - blob.centre))
                gate = blob.extent * (1.0 + 0.3 * min(blob.lost, 10)) + (blob.lost + 1) * 2.0
                alike = likeness(form, blob.form)
                size = form.sum() / blob.area
                whole = alike > _SAME and 0.3 < size < 3.3
                if whole or (away < gate and size < 1.5 and blob.lost < 30):
                    pairs.append((away / blob.extent - 2 * alike * whole, i, r))
        for _, i, r in sorted(pairs):
            if r in free and not seen[i].any():
                seen[i] |= labels == r
                free.remove(r)


def _arrivals(blob: Blob, seen: Bool[np.ndarray, "h w"]) -> list[np.ndarray]:
    """Takes off `seen`, in place, what is suddenly there beside a thing in full sight: another one that touches it."""
    if np.count_nonzero(seen) < 1.3 * blob.area:
        return []
    new = seen & ~_grown(_paste(blob.form, blob.centre, seen.shape), 2)
    if np.count_nonzero(new) < max(0.2 * blob.area, 4):
        return []
    seen &= ~new
    return [new]


def _emerge(
    blob: Blob, seen: Bool[np.ndarray, "h w"], labels: np.ndarray, free: list[int]
) -> Float64[np.ndarray, " 2"]:
    """Adds to a thing that is partly hidden, in place, regions that come out near it; how far that moves its middle."""
    place = _paste(blob.form, blob.centre, seen.shape)
    near = _grown(place, 2 + int(0.35 * blob.extent))
    for r in [r for r in free if np.count_nonzero(near & (labels == r)) > 0.8 * np.count_nonzero(labels == r)]:
        free.remove(r)
        seen |= labels == r
    if not (seen & ~place).any():
        return np.zeros(2)
    old = blob.centre
    blob.form, blob.centre = _cut(place | seen)
    return blob.centre - old


def _grown(mask: Bool[np.ndarray, "h w"], margin: int) -> Bool[np.ndarray, "h w"]:
    import cv2

    return cv2.dilate(mask.view(np.uint8), np.ones((2 * margin + 1,) * 2, np.uint8)).astype(bool)


def _share_out(
    blobs: list[Blob], cover: list[float], labels: np.ndarray, areas: np.ndarray
) -> tuple[list[np.ndarray], set[int]]:
    """What each blob shows, by where it was aligned, and which blobs had to divide a region with another."""
    size = labels.shape
    places = [_paste(b.form, b.centre, size) for b in blobs]
    claims: list[list[int]] = [[] for _ in areas]
    for i, (blob, place) in enumerate(zip(blobs, places, strict=True)):
        if not cover[i]:
            continue
        margin = 1 + int(0.06 * blob.extent)
        overlap = np.bincount(labels[_grown(place, margin)], minlength=len(areas))
        for r in np.flatnonzero(overlap[1:]) + 1:
            if overlap[r] >= 0.5 * areas[r] or overlap[r] >= 0.5 * blob.area:
                claims[r].append(i)
    seen = [np.zeros(size, bool) for _ in blobs]
    shared: set[int] = set()
    for r in [r for r, claim in enumerate(claims) if claim]:
        region = labels == r
        if len(claims[r]) == 1:
            seen[claims[r][0]] |= region
        else:
            shared.update(claims[r])
            nearest = np.argmin([_away(places[i], blobs[i]) for i in claims[r]], axis=0)
            for k, i in enumerate(claims[r]):
                seen[i] |= region & (nearest == k)
    return seen, shared


def _away(place: Bool[np.ndarray, "h w"], blob: Blob) -> np.ndarray:
    """Distance to where the blob is; inside it, a little by the distance from its middle."""
    import cv2

    h, w = place.shape
    inside = np.hypot(np.arange(h)[:, None] - blob.centre[0], np.arange(w)[None] - blob.centre[1]) / (h + w)
    return cv2.distanceTransform((~place).view(np.uint8), cv2.DIST_L2, 5) + inside


def _background(frame: np.ndarray) -> Bool[np.ndarray, "h w"]:
    """The pixels near the frame's median colour: the background wherever things fill less than half of the frame."""
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
        # a thing that touches another one of its colour is cut out by the box; the background is too large for that
        merged = np.flatnonzero((inside >= 0.2 * areas) & (inside >= 4) & (areas < 5 * cut.sum()))
        for mask, worth in ((np.isin(labels, whole[whole > 0]), 1.0), (np.isin(labels, merged[merged > 0]) & cut, 0.8)):
            if mask.any() and _is_flat(frame, mask) and _is_solid(labels, areas, mask):
                ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
                fit = (worth - 0.5 * around) * _box_iou(
                    np.asarray([xs[0], ys[0], xs[-1] + 1, ys[-1] + 1]), np.asarray([x1, y1, x2, y2])
                )
                if fit > best:
                    best, answer = fit, (colour, mask)
    return answer


def _is_flat(frame: np.ndarray, mask: Bool[np.ndarray, "h w"]) -> bool:
    """Whether the colour hardly varies inside: noise is smoothed away first, edges are left out."""
    import cv2

    inner = cv2.erode(mask.view(np.uint8), np.ones((5, 5), np.uint8), borderValue=1).astype(bool)
    if not inner.any():
        inner = mask
    return float(cv2.blur(frame, (3, 3))[inner].std(0).max()) < 12.0


def _is_solid(labels: np.ndarray, areas: np.ndarray, mask: Bool[np.ndarray, "h w"]) -> bool:
    """Whether the colour comes in few pieces, and the mask mostly in one."""
    mine = np.bincount(labels[mask], minlength=len(areas))
    few = np.count_nonzero(areas[1:] >= 4) <= _REGIONS and np.count_nonzero(mine >= 4) <= _PIECES
    return bool(few and mine.max() > 0.4 * mine.sum())


def _merged(colours: Float64[np.ndarray, "n 3"]) -> list[np.ndarray]:
    """Colours less than 30 apart as one (a colour at the border of two bins comes in both)."""
    kept: list[np.ndarray] = []
    for rgb in colours:
        if all(np.linalg.norm(rgb - k) >= 30 for k in kept):
            kept.append(rgb)
    return kept


def likeness(one: Bool[np.ndarray, "a b"], other: Bool[np.ndarray, "c d"]) -> float:
    """IoU of two forms scaled to one height; the width follows, so that a flattened form is unlike."""
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


def _cut(mask: Bool[np.ndarray, "h w"]) -> tuple[Bool[np.ndarray, "a b"], Float64[np.ndarray, " 2"]]:
    """A mask within its tight box, and the box's middle (y, x)."""
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    form = mask[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1]
    return form, np.asarray([ys[0] + ys[-1] + 1, xs[0] + xs[-1] + 1]) / 2


def _window(whole: np.ndarray, corner: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A part of a frame [h w] from `corner` (y, x), which may lie outside it: zeros there."""
    part = np.zeros(size, whole.dtype)
    (y, x), (a, b) = corner, size
    top, left, bottom, right = max(y, 0), max(x, 0), min(y + a, whole.shape[0]), min(x + b, whole.shape[1])
    if top < bottom and left < right:
        part[top - y : bottom - y, left - x : right - x] = whole[top:bottom, left:right]
    return part


def _paste(form: Bool[np.ndarray, "a b"], centre: np.ndarray, size: tuple[int, ...]) -> Bool[np.ndarray, "h w"]:
    """A frame with the form's middle at `centre`, cut at the borders."""
    whole = np.zeros(size, bool)
    y, x = np.rint(centre - np.asarray(form.shape) / 2).astype(int)
    top, left = max(y, 0), max(x, 0)
    bottom, right = min(y + form.shape[0], size[0]), min(x + form.shape[1], size[1])
    if top < bottom and left < right:
        whole[top:bottom, left:right] = form[top - y : bottom - y, left - x : right - x]
    return whole


def _box_iou(a: np.ndarray, b: np.ndarray) -> float:
    side = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    both = float(side.clip(0).prod())
    return both / float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - both)
