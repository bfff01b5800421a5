"""ReasonSeg: pictures, not videos: `<split>/<x>.jpg` beside `<x>.json`, whose polygons are the mask."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field
from typing_extensions import TypedDict  # pydantic reads typing's own from Python 3.12 on only

from revseg.datasets.benchmark import Benchmark, Item, check_root, check_split
from revseg.datasets.layout import existing, frame_files
from revseg.errors import InputError
from revseg.masks import MaskTrack
from revseg.registry import register
from revseg.untrusted.reading import checked, parse_json
from revseg.video import Video, read_picture

Coordinate = Annotated[float, Field(ge=-1e5, le=1e5, allow_inf_nan=False)]
Point = Annotated[list[Coordinate], Field(min_length=2, max_length=2)]
TARGET, IGNORED = 1, 255


class Shape(TypedDict):
    """One polygon of a picture's JSON."""

    label: str
    points: Annotated[list[Point], Field(min_length=1)]


class _File(TypedDict):
    shapes: list[Shape]
    text: Annotated[list[str], Field(min_length=1)]
    is_sentence: bool


@register("dataset", "reason_seg")
class ReasonSeg(Benchmark):
    """ReasonSeg: a sequence of samples from the official folders, each a video of one frame.

    Of a picture's texts only the first is the query, as in the official evaluation. Polygons are painted largest first,
    so that a small one stays visible on a large one. A label with "ignore" in it marks pixels that count nowhere
    (`void`, which the protocol `reason_seg` leaves out); polygons with the label "flag" are skipped.

    `meta` adds `is_sentence` (True: the text is a whole question, False: a phrase) and `type` ("long" or "short", the
    same in the words of the official tables).

    Options:
        root: the folder that holds `train/`, `val/` and `test/`.
        split: "train", "val" or "test".
        exclude: ids of pictures or queries to leave out, `*` allowed: one pattern, a list, or a .txt file with one per
            line.
    """

    name = "reason_seg"
    official: ClassVar = {
        "train": {"videos": 239, "expressions": 239},
        "val": {"videos": 200, "expressions": 200},
        "test": {"videos": 779, "expressions": 779},
    }
    source = (
        "the authors of LISA (https://github.com/dvlab-research/LISA, 1218 pictures); its pictures are of OpenImages "
        "and ScanNet: read the licences of all three"
    )

    def __init__(self, *, root: str, split: str = "val", exclude: str | Sequence[str] = ()) -> None:
        check_split(split, ("train", "val", "test"))
        folder = check_root(root, split) / split
        items = []
        for name in frame_files(folder):
            file = _read(existing(folder / f"{name}.json", "the polygons and texts of the picture beside it"))
            kind = "long" if file["is_sentence"] else "short"
            fields = {"is_sentence": file["is_sentence"], "type": kind}
            items.append(Item(name, "0", file["text"][0], (name,), folder, fields))
        if not items:
            raise InputError(f"{folder}: expected pictures, each with a .json of the same name; found none")
        super().__init__(root, split, items, exclude, None)

    def truth(self, item: Item, video: Video) -> MaskTrack | None:
        return _track(self._labels(item.video, video.size) == TARGET)

    def void(self, video: str) -> MaskTrack:
        """The pixels that count nowhere."""
        folder = self.root / self.split
        height, width, _ = read_picture(frame_files(folder)[video]).shape
        return _track(self._labels(video, (height, width)) == IGNORED)

    def _labels(self, name: str, size: tuple[int, int]) -> np.ndarray:
        return painted(_read(self.root / self.split / f"{name}.json")["shapes"], size)

    def _meta(self, item: Item) -> dict[str, Any]:
        meta = super()._meta(item)
        del meta["frames"]  # the folder holds all pictures of the split; `data check` would report the others
        return meta


def painted(shapes: Sequence[Shape], size: tuple[int, int]) -> np.ndarray:
    """uint8[h w]: 1 is the target, 255 to be ignored. Each polygon with its outline, those of largest area first."""
    polygons = [
        (np.array([shape["points"]], np.float64).astype(np.int32), IGNORED if "ignore" in label else TARGET)
        for shape in shapes
        if (label := shape["label"].lower()) != "flag"
    ]
    areas = [_paint(np.zeros(size, np.uint8), points, 1).sum() for points, _ in polygons]
    labels = np.zeros(size, np.uint8)
    for place in np.argsort(areas)[::-1]:  # of equal areas the last one is first, as in LISA
        _paint(labels, *polygons[place])
    return labels


def _paint(image: np.ndarray, points: np.ndarray, value: int) -> np.ndarray:
    import cv2

    cv2.polylines(image, [*points], True, value, 1)
    cv2.fillPoly(image, [*points], value)
    return image


def _track(mask: np.ndarray) -> MaskTrack:
    return MaskTrack.from_dense(mask[None])


def _read(path: Path) -> _File:
    """A picture's JSON: UTF-8, else cp1252. InputError for anything else."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: expected a picture's polygons: {error.strerror or error}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", "replace")  # five byte values have no meaning in it
    return checked(parse_json(text, str(path), "a picture's polygons and texts as JSON"), _File, str(path))
