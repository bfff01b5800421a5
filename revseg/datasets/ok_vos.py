"""OK-VOS: `<split>.parquet`, `<split>/{JPEGImages/<video>/<frame>.jpg, Annotations/<video>/<oid>/<frame>.png}`."""

import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from revseg.datasets.benchmark import Benchmark, Item, check_frames, check_root, check_split
from revseg.datasets.layout import frame_files, inside
from revseg.datasets.png_masks import masks_folder, png_track
from revseg.errors import InputError, MissingExtraError
from revseg.masks import MaskTrack
from revseg.masks.rle import brief
from revseg.registry import register
from revseg.types import Sample
from revseg.video import Video


@register("dataset", "ok_vos")
class OKVOS(Benchmark):
    """OK-VOS, questions that need knowledge from outside the video: a sequence of samples from the official folders.

    The frames are the row's `images`, sorted. Only frames with a mask PNG are scored, so the truth has only these
    (`truth.frame_ids`); pixels of value 255 are the target. `meta` adds `oid` (text), `ability`, `type` (the same:
    "one-hop", "multi-hop", "relational", or "in-video", which needs no search) and the other columns, such as `steps`.

    Options:
        root: the folder with `train.parquet`, `test.parquet`, `train/` and `test/`.
        split: "train" or "test".
        exclude: ids of videos or queries to leave out, `*` allowed: one pattern, a list, or a .txt file with one per
            line.
        fps: nominal frames per second.

    Raises:
        MissingExtraError: if pyarrow, which reads the parquet files, is not installed.
    """

    name = "ok_vos"
    source = (
        "https://huggingface.co/datasets/iSEE-Laboratory/OK_VOS; size and licence are on its card; reading it needs "
        "pyarrow: pip install revseg[parquet]"
    )

    def __init__(
        self, *, root: str, split: str = "test", exclude: str | Sequence[str] = (), fps: float | None = None
    ) -> None:
        check_split(split, ("train", "test"))
        base = check_root(root, f"{split}.parquet")
        self.masks = base / split / "Annotations"
        listed = base / f"{split}.parquet"
        images = base / split / "JPEGImages"
        items = [_item(listed, number, row, images) for number, row in enumerate(_rows(listed))]
        super().__init__(root, split, items, exclude, fps)

    def meta(self, item: Item) -> dict[str, Any]:
        return {"type": item.fields["ability"]}

    def truth(self, item: Item, video: Video) -> MaskTrack | None:
        return png_track(self._folder(item), item.frames, [255])

    def faults(self, sample: Sample) -> list[str]:
        """Masks of frames that the row does not list; they are not scored here."""
        item = next(item for item in self.items if item.query_id == sample.query.id)
        odd = sorted(set(frame_files(self._folder(item))) - set(item.frames))
        return [f"{self._folder(item)}: {len(odd)} masks of frames that are not listed, {odd[0]}"] if odd else []

    def _folder(self, item: Item) -> Path:
        return masks_folder(self.masks, item.video, item.fields["oid"])


def _rows(listed: Path) -> list[dict[str, Any]]:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingExtraError(f"{listed} needs pyarrow: pip install revseg[parquet]") from error
    try:
        return parquet.ParquetFile(listed).read().to_pylist()
    except (OSError, ValueError, TypeError, NotImplementedError) as error:  # Arrow's own errors are among these
        raise InputError(f"{listed}: expected a readable parquet file: {error}") from error


def _item(listed: Path, number: int, row: Mapping[str, Any], images: Path) -> Item:
    where = f"{listed}: row {number}"
    for column in ("question", "video", "ability"):
        if not isinstance(row.get(column), str):
            raise InputError(f'{where}: expected "{column}" as text, got {brief(row.get(column))}')
    for column in ("id", "oid"):
        if type(row.get(column)) not in (str, int):
            raise InputError(f'{where}: expected "{column}" as text or a number, got {brief(row.get(column))}')
    names = row.get("images")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise InputError(f'{where}: expected "images", the names of the frames, got {brief(names)}')
    frames = tuple(sorted(names))
    check_frames(listed, row["video"], frames)
    rest = {key: value for key, value in row.items() if key not in ("id", "question", "video", "images")}
    try:
        json.dumps(rest)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: expected only text, numbers and lists in the columns: {error}") from error
    folder = inside(images, row["video"])
    return Item(row["video"], str(row["id"]), row["question"], frames, folder, {**rest, "oid": str(row["oid"])})
