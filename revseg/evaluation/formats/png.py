"""Folders of PNG masks: one per expression (binary or palette), or one per annotator of Ref-DAVIS17."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from revseg.colours import colour
from revseg.datasets.layout import frame_files, inside
from revseg.datasets.png_masks import object_number, png_track, read_labels
from revseg.errors import InputError
from revseg.evaluation.formats.asked import Asked, Reader
from revseg.evaluation.submissions import ROOTS, safe_member
from revseg.masks import MaskTrack
from revseg.masks.rle import brief

MOST = 254  # objects of a palette PNG; 255 is void where there is one


@dataclass(frozen=True)
class PngFolders:
    """`<video>/<expression>/<frame>.png`. With `palette`, the value is the number of the object; else 0 and 255.

    Objects that overlap: a pixel belongs to the first one, so that only their union is kept whole.
    """

    about: str
    palette: bool
    suffix: str = ""

    def write(self, results: Iterable[tuple[Asked, MaskTrack]], out: Path) -> None:
        for asked, track in results:
            for frame in track.frame_ids.tolist():
                path = out / safe_member(*asked.place, f"{asked.frames[frame]}.png")
                masks = track.dense([frame])[:, 0]
                labels = _numbered(masks, asked) if self.palette else masks.any(0).astype(np.uint8) * np.uint8(255)
                write_png(path, np.asarray(labels), self.palette)

    def open(self, path: Path) -> Reader:
        root = _root(path)

        def read(asked: Asked) -> MaskTrack | None:
            folder = next((f for place in asked.places if (f := inside(root, *place)).is_dir()), None)
            if folder is None:
                return None
            values = _values(folder, asked.frames) if self.palette else []
            return png_track(folder, asked.frames, values or [None])

        return read


@dataclass(frozen=True)
class DavisFolders:
    """`anno_<0 to 3>/<video>/<frame>.png`, a palette PNG of all objects of an annotator of Ref-DAVIS17.

    Pixels that several expressions claim belong to the first one, as by protocol A.
    """

    about: str
    suffix: str = ""

    def write(self, results: Iterable[tuple[Asked, MaskTrack]], out: Path) -> None:
        for asked, track in results:
            annotator, number = _davis(asked)
            for frame in track.frame_ids.tolist():
                path = out / safe_member(f"anno_{annotator}", asked.meta["video"], f"{asked.frames[frame]}.png")
                label = read_labels(path) if path.exists() else np.zeros(asked.size, np.uint8)
                label[track.dense([frame])[:, 0].any(0) & (label == 0)] = number
                write_png(path, label, palette=True)

    def open(self, path: Path) -> Reader:
        root = _root(path)

        def read(asked: Asked) -> MaskTrack | None:
            annotator, number = _davis(asked)
            folder = inside(root, f"anno_{annotator}", asked.meta["video"])
            return png_track(folder, asked.frames, [number]) if folder.is_dir() else None

        return read


def write_png(path: Path, labels: np.ndarray, palette: bool) -> None:
    """Write a mask of one channel; with `palette`, its values have colours, 0 is black."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels)
    if palette:
        image.putpalette([0, 0, 0, *(channel for number in range(255) for channel in colour(number))])
    image.save(path)


def _numbered(masks: np.ndarray, asked: Asked) -> np.ndarray:
    """uint8[h w] of bool[o h w]: 1 for the first object, and so on."""
    if len(masks) > MOST:
        raise InputError(f"query {asked.id!r}: a palette PNG holds {MOST} objects, got {len(masks)}: convert to png")
    labels = np.zeros(masks.shape[1:], np.uint8)
    for number, mask in reversed(list(enumerate(masks, 1))):
        labels[mask] = number
    return labels


def _values(folder: Path, frames: Sequence[str]) -> list[int]:
    """The values other than 0 of a folder's masks of these frames."""
    files: Mapping[str, Path] = frame_files(folder)
    found: set[int] = set()
    for frame in frames:
        if frame in files:
            found.update(np.unique(read_labels(files[frame])).tolist())
    return sorted(found - {0})


def _root(path: Path) -> Path:
    """The folder of the videos, which archives for the server of Ref-YouTube-VOS have below `Annotations/`."""
    if not path.is_dir():
        raise InputError(f"{path}: expected a folder of PNG masks; unpack archives first")
    below = path / ROOTS["ref_youtube_vos"]
    return below if below.is_dir() else path


def _davis(asked: Asked) -> tuple[int, int]:
    """(annotator, number of the object). InputError for queries of other datasets."""
    annotator = asked.meta.get("annotator")
    if (
        not isinstance(annotator, int)
        or annotator not in range(4)
        or "obj_id" not in asked.meta
        or "video" not in asked.meta
    ):
        raise InputError(
            f"query {asked.id!r}: expected a query of ref_davis17, which has an annotator and an object; its meta has "
            f"{brief(list(asked.meta))}"
        )
    return annotator, object_number(asked.meta["obj_id"], Path(asked.id), MOST)
