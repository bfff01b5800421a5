"""Rendering: frames, and exact masks of visible pixels, from the same stamps."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64, UInt8
from pycocotools import mask as coco

from revseg.masks import MaskTrack
from revseg.shapes.scene import COLOURS, UNSEEN_COLOURS, Scene, Thing

Outline = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _regular(corners: int, inner: float) -> Outline:
    """A regular polygon (inner = cos(pi / corners)) or a star, one corner pointing up."""

    def inside(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        step = np.pi / corners
        angle = np.abs((np.arctan2(x, -y) + step) % (2 * step) - step)  # to the nearest corner, 0..step
        # the edge from (1, 0) to inner * (cos step, sin step), as a half-plane around the origin
        edge = (
            inner * np.sin(step) / (np.sin(angle) * (1.0 - inner * np.cos(step)) + np.cos(angle) * inner * np.sin(step))
        )
        return np.hypot(x, y) <= edge

    return inside


def _heart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    lobes = (np.abs(x) - 0.5) ** 2 + (y + 0.45) ** 2 <= 0.27
    return lobes | ((y >= -0.45) & (np.abs(x) <= (1.0 - y) / 1.45))


FORMS: dict[str, Outline] = {
    "circle": lambda x, y: x**2 + y**2 <= 1.0,
    "square": lambda x, y: np.maximum(np.abs(x), np.abs(y)) <= 1.0,
    "triangle": lambda x, y: np.abs(x) <= (y + 1.0) / 2,
    "diamond": lambda x, y: np.abs(x) + np.abs(y) <= 1.0,
    "cross": lambda x, y: np.minimum(np.abs(x), np.abs(y)) <= 0.3,
    "star": _regular(5, 0.42),
    "ring": lambda x, y: np.abs(x**2 + y**2 - 0.64) <= 0.36,
}
UNSEEN_FORMS: dict[str, Outline] = {
    "pentagon": _regular(5, float(np.cos(np.pi / 5))),
    "hexagon": _regular(6, float(np.cos(np.pi / 6))),
    "heart": _heart,
    "arrow": lambda x, y: ((y <= 0.1) & (np.abs(x) <= (y + 1.0) / 1.1)) | ((y > 0.1) & (np.abs(x) <= 0.35)),
    "moon": lambda x, y: (x**2 + y**2 <= 1.0) & ((x - 0.55) ** 2 + y**2 > 0.6),
}


@functools.lru_cache(4096)
def stamp(form: str, diameter: int) -> Bool[np.ndarray, "d d"]:
    """The pixels of a form that is `diameter` pixels wide, as [row, column]."""
    outline = FORMS.get(form) or UNSEEN_FORMS[form]
    at = (np.arange(diameter) + 0.5) / diameter * 2 - 1
    pixels = outline(at[None, :], at[:, None])
    pixels.setflags(write=False)
    return pixels


def placed(
    thing: Thing, size: tuple[int, int], ids: Int64[np.ndarray, " t"]
) -> Iterator[tuple[int, slice, slice, np.ndarray]]:
    """(position in `ids`, rows, columns, cropped stamp) for each frame on which the thing is inside the picture."""
    height, width = size
    diameters = np.rint(thing.diameter[ids]).astype(int)
    corners = np.rint(thing.centre[ids] - diameters[:, None] / 2).astype(int)
    for at, (present, d, (x, y)) in enumerate(
        zip(thing.present[ids].tolist(), diameters.tolist(), corners.tolist(), strict=True)
    ):
        left, top, right, bottom = max(x, 0), max(y, 0), min(x + d, width), min(y + d, height)
        if present and left < right and top < bottom:
            cut = stamp(thing.form, d)[top - y : bottom - y, left - x : right - x]
            yield at, slice(top, bottom), slice(left, right), cut


def label_maps(
    scene: Scene, ids: Int64[np.ndarray, " t"]
) -> tuple[UInt8[np.ndarray, "t w h"], Int64[np.ndarray, "o t"], Int64[np.ndarray, "o t"]]:
    """Label maps, visible areas and whole areas of all things on the frames `ids`.

    A label is 1 + the index of the visible thing, 0 for none; maps are transposed, as COCO's run-length code is. Areas
    are in pixels inside the picture; the whole area ignores what is in front.
    """
    size = (scene.world.height, scene.world.width)
    labels = np.zeros((len(ids), size[1], size[0]), np.uint8)
    seen = np.zeros((len(scene.things), len(ids)), np.int64)
    whole = np.zeros_like(seen)
    for index, thing in enumerate(scene.things):
        for at, rows, columns, cut in placed(thing, size, ids):
            here = labels[at, columns, rows]
            free = cut.T & (here == 0)
            seen[index, at] = np.count_nonzero(free)
            whole[index, at] = np.count_nonzero(cut)
            here[free] = index + 1
    return labels, seen, whole


def true_masks(scene: Scene, targets: list[int]) -> MaskTrack:
    """The visible pixels of the targets on every frame, one row per target."""
    frames = scene.world.frames
    rows: list[list[bytes]] = [[] for _ in targets]
    for start in range(0, frames, 64):  # in pieces, so that memory does not grow with the video
        labels, _, _ = label_maps(scene, np.arange(start, min(start + 64, frames)))
        for row, target in zip(rows, targets, strict=True):
            masks = (labels == target + 1).view(np.uint8).transpose(2, 1, 0)
            codes: Any = coco.encode(masks)  # of a stack: a list
            row.extend(code["counts"] for code in codes)
    names = tuple(scene.things[t].name for t in targets)
    counts = tuple(tuple(row) for row in rows)
    return MaskTrack(counts, (scene.world.height, scene.world.width), np.arange(frames), names=names)


@dataclass(frozen=True)
class Look:
    """How frames look. None of it changes the truth."""

    background: str = "plain"  # plain or texture
    noise: float = 0.0  # standard deviation, as a share of white
    compression: int | None = None  # JPEG quality 1..100; None for none


@dataclass(frozen=True, eq=False)
class Painter:
    """A scene's `Video.reader`: renders the frames asked for and keeps none."""

    scene: Scene
    look: Look
    shade: tuple[int, int, int]
    seed: int

    def __call__(self, indices: Int64[np.ndarray, " t"]) -> UInt8[np.ndarray, "t h w 3"]:
        world = self.scene.world
        size = (world.height, world.width)
        frames = np.empty((len(indices), *size, 3), np.uint8)
        frames[:] = self._backdrop()
        palette = UNSEEN_COLOURS if world.colours == "unseen" else COLOURS
        for thing in reversed(self.scene.things):
            colour = np.array(palette[thing.colour], np.uint8)
            for at, rows, columns, cut in placed(thing, size, indices):
                frames[at, rows, columns][cut] = colour
        if self.look.noise:
            frames = np.stack([self._noisy(f, i) for f, i in zip(frames, indices.tolist(), strict=True)])
        if self.look.compression is not None:
            frames = np.stack([_compressed(f, self.look.compression) for f in frames])
        return frames

    def _backdrop(self) -> np.ndarray:
        if self.look.background == "plain":
            return np.array(self.shade, np.uint8)
        rng = np.random.default_rng([self.seed, 0])
        rows, columns = np.mgrid[: self.scene.world.height, : self.scene.world.width] / self.scene.world.side
        waves = sum(
            np.sin(rng.uniform(10, 40) * (np.cos(a) * columns + np.sin(a) * rows) + rng.uniform(0, 6))
            for a in rng.uniform(0, np.pi, 4)
        )
        return np.clip(np.array(self.shade) + 9.0 * np.asarray(waves)[..., None], 0, 255).astype(np.uint8)

    def _noisy(self, frame: np.ndarray, index: int) -> np.ndarray:
        grain = np.random.default_rng([self.seed, 1, index]).normal(0.0, 255.0 * self.look.noise, frame.shape)
        return np.clip(np.rint(frame + grain), 0, 255).astype(np.uint8)


def _compressed(frame: np.ndarray, quality: int) -> np.ndarray:
    import io

    from PIL import Image

    packed = io.BytesIO()
    Image.fromarray(frame).save(packed, "JPEG", quality=quality)
    return np.array(Image.open(packed))
