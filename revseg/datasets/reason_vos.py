"""ReasonVOS: `JPEGImages/<video>`, `Annotations/{source}_{video}_{obj_id}/<frame>.png`, `meta_expressions.json`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from revseg.datasets.benchmark import Benchmark, Item, check_root, check_split, index
from revseg.datasets.layout import frame_files, read_videos
from revseg.datasets.png_masks import masks_folder, odd_values, png_track
from revseg.errors import InputError
from revseg.masks import MaskTrack
from revseg.registry import register
from revseg.types import Sample
from revseg.video import Video


@register("dataset", "reason_vos")
class ReasonVOS(Benchmark):
    """ReasonVOS, for testing only: a sequence of samples from the official folders.

    Only frames with a mask PNG are scored, so the truth has only these (`truth.frame_ids`). The official script also
    scores frames that have a mask but are missing from the list: they are added to the video, sorted by name. A query's
    id is "{source}_{video}_{obj_id}/{exp_id}", the path at which the official script looks for the prediction.

    `meta` adds `source`, `obj_id` (text), `mask_folder` and `is_sent`: True if the text is a whole question, False if
    it is a description, for which other methods use another prompt.

    Options:
        root: the folder with `JPEGImages/`, `Annotations/` and `meta_expressions.json`.
        split: "test", the only one.
        exclude: ids of videos or queries to leave out, `*` allowed: one pattern, a list, or a .txt file with one per
            line.
        fps: nominal frames per second.
    """

    name = "reason_vos"

    def __init__(
        self, *, root: str, split: str = "test", exclude: str | Sequence[str] = (), fps: float | None = None
    ) -> None:
        check_split(split, ("test",))
        base = check_root(root, "meta_expressions.json")
        self.masks = base / "Annotations"
        listed = base / "meta_expressions.json"
        videos = read_videos(listed)
        items = [_complete(listed, item, videos[item.video]) for item in index(listed, base / "JPEGImages")]
        super().__init__(root, split, items, exclude, fps)

    def truth(self, item: Item, video: Video) -> MaskTrack | None:
        return png_track(self._folder(item), item.frames, [None])

    def completed(self, item: Item) -> Item:
        """With the frames that have a picture and a mask of this object but are missing from the list."""
        more = set(frame_files(self._folder(item))) & set(frame_files(item.folder)) - set(item.frames)
        return replace(item, frames=tuple(sorted({*item.frames, *more}))) if more else item

    def faults(self, sample: Sample) -> list[str]:
        """Values other than 0 and 255; masks of frames without a picture, where the official script stops."""
        item = self.items[[i.query_id for i in self.items].index(sample.query.id)]
        folder = self._folder(item)
        odd = sorted(set(frame_files(folder)) - set(sample.meta["frames"]))
        return odd_values(folder) + (
            [f"{folder}: {len(odd)} masks of frames without a picture, {odd[0]}"] if odd else []
        )

    def _folder(self, item: Item) -> Path:
        name = item.fields["mask_folder"]
        source = str(item.fields["source"])
        lower = source.lower() + name.removeprefix(
            source
        )  # the official scripts differ: one uses it in lower case, one does not
        if not (self.masks / name).is_dir() and (self.masks / lower).is_dir():
            name = lower
        return masks_folder(self.masks, name)


def _complete(listed: Path, item: Item, entry: dict[str, object]) -> Item:
    """The item with its video's fields, and the official name of its mask folder."""
    fields = item.fields
    missing = [key for key, among in (("source", entry), ("obj_id", fields)) if key not in among]
    if missing:
        raise InputError(
            f'{listed}: {item.query_id}: expected "{missing[0]}", which is part of the name of its mask folder'
        )
    source, obj_id = str(entry["source"]), str(fields["obj_id"])
    folder = f"{source}_{item.video}_{obj_id}"
    sentence = fields.get("is_sent", entry.get("is_sent"))
    known = {**fields, "source": source, "obj_id": obj_id, "mask_folder": folder, "is_sent": _flag(sentence)}
    return replace(item, fields=known, id=f"{folder}/{item.exp_id}")


def _flag(value: object) -> bool | None:
    """A truth value given as JSON's true or false, as a number or as text."""
    return None if value is None else str(value).lower() in ("1", "true", "yes")
