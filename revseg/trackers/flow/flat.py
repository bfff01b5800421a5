"""Tracking a region of one flat colour: exact where its colour differs from that of everything it touches.

A frame is divided by its main colours: a pixel has the target's colour when that is the nearest of them, which puts a
blurred or compressed edge in its middle. The connected regions of the colour are assigned to *blobs*, which are the
target and all other things of its colour, each with a position, a velocity and a shape. So another thing of the same
colour is not taken for the target, and a target that was hidden is recognised by its shape.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64

from revseg.trackers.flow.blob import Blob, cut_out, grown, likeness, pasted
from revseg.trackers.flow.colour import Colour, background_of, find_flat
from revseg.trackers.flow.scene import View

_OTHERS = 12  # most blobs beside the target
_SAME = 0.75  # IoU of two shapes, scaled to one size, above which they are the same


class FlatFollower:
    """Follows one blob of a flat colour among others of that colour; see the module docstring."""

    def __init__(self, colour: Colour, first: Bool[np.ndarray, "h w"], others: Sequence[np.ndarray] = ()) -> None:
        form, centre = cut_out(first)
        self._colour = colour
        self._target = Blob(form, centre, np.zeros(2))
        self._others: list[Blob] = [Blob(*cut_out(other), np.zeros(2)) for other in others]

    @staticmethod
    def start(frame: np.ndarray, box: np.ndarray) -> "FlatFollower | None":
        """A follower of the flat region that fits the box (xyxy in pixels); None when there is none."""
        import cv2

        found = find_flat(frame, box)
        if found is None:
            return None
        colour, first = found
        count, labels = cv2.connectedComponents(colour.of(frame).view(np.uint8), connectivity=8)
        others = [(labels == r) & ~first for r in range(1, count)]  # what the box leaves of a region is one blob
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
        background = background_of(frame) & ~of_colour
        cover = [b.align(of_colour, background) if b.lost < 8 else 0.0 for b in blobs]
        seen, shared = _assign(blobs, cover, labels, areas)
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
        self._others += [Blob(*cut_out(one), np.zeros(2)) for one in new[: max(_OTHERS - len(self._others), 0)]]
        return seen[0], self._confidence(bool(seen[0].any()), full, 0 in shared, bool(free))

    def _confidence(self, visible: bool, full: bool, divided: bool, doubtful: bool) -> float:
        if not visible:
            return 0.4 if doubtful else 0.9
        return 0.6 if divided else 1.0 if full else 0.85

    def _find_again(self, blobs: list[Blob], seen: list[np.ndarray], labels: np.ndarray, free: list[int]) -> None:
        """Assigns free regions to blobs that were not seen, the likeliest pair first, and removes them from `free`."""
        pairs = []
        for r in free:
            form, centre = cut_out(labels == r)
            for i, blob in enumerate(blobs):
                if seen[i].any():
                    continue
                distance = float(np.linalg.norm(centre - blob.centre))
                gate = blob.extent * (1.0 + 0.3 * min(blob.lost, 10)) + (blob.lost + 1) * 2.0
                alike = likeness(form, blob.form)
                size = form.sum() / blob.area
                whole = alike > _SAME and 0.3 < size < 3.3
                if whole or (distance < gate and size < 1.5 and blob.lost < 30):
                    pairs.append((distance / blob.extent - 2 * alike * whole, i, r))
        for _, i, r in sorted(pairs):
            if r in free and not seen[i].any():
                seen[i] |= labels == r
                free.remove(r)


def _arrivals(blob: Blob, seen: Bool[np.ndarray, "h w"]) -> list[np.ndarray]:
    """Another blob that touches a fully visible one: what is new beside it, which is removed from `seen` in place."""
    if np.count_nonzero(seen) < 1.3 * blob.area:
        return []
    new = seen & ~grown(pasted(blob.form, blob.centre, seen.shape), 2)
    if np.count_nonzero(new) < max(0.2 * blob.area, 4):
        return []
    seen &= ~new
    return [new]


def _emerge(
    blob: Blob, seen: Bool[np.ndarray, "h w"], labels: np.ndarray, free: list[int]
) -> Float64[np.ndarray, " 2"]:
    """Adds free regions near a partly hidden blob to it, in place; gives the shift of its centre."""
    place = pasted(blob.form, blob.centre, seen.shape)
    near = grown(place, 2 + int(0.35 * blob.extent))
    for r in [r for r in free if np.count_nonzero(near & (labels == r)) > 0.8 * np.count_nonzero(labels == r)]:
        free.remove(r)
        seen |= labels == r
    if not (seen & ~place).any():
        return np.zeros(2)
    old = blob.centre
    blob.form, blob.centre = cut_out(place | seen)
    return blob.centre - old


def _assign(
    blobs: list[Blob], cover: list[float], labels: np.ndarray, areas: np.ndarray
) -> tuple[list[np.ndarray], set[int]]:
    """The visible pixels of each blob, by its aligned position, and the blobs that share a region with another."""
    size = labels.shape
    places = [pasted(b.form, b.centre, size) for b in blobs]
    claims: list[list[int]] = [[] for _ in areas]
    for i, (blob, place) in enumerate(zip(blobs, places, strict=True)):
        if not cover[i]:
            continue
        margin = 1 + int(0.06 * blob.extent)
        overlap = np.bincount(labels[grown(place, margin)], minlength=len(areas))
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
            nearest = np.argmin([_distance(places[i], blobs[i]) for i in claims[r]], axis=0)
            for k, i in enumerate(claims[r]):
                seen[i] |= region & (nearest == k)
    return seen, shared


def _distance(place: Bool[np.ndarray, "h w"], blob: Blob) -> np.ndarray:
    """Distance of each pixel to the blob; inside it a small term that grows with the distance to its centre."""
    import cv2

    h, w = place.shape
    inside = np.hypot(np.arange(h)[:, None] - blob.centre[0], np.arange(w)[None] - blob.centre[1]) / (h + w)
    return cv2.distanceTransform((~place).view(np.uint8), cv2.DIST_L2, 5) + inside
