"""ReasonVOS: `JPEGImages/<video>`, `Annotations/{source}_{video}_{obj_id}/<frame>.png`, `meta_expressions.json`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from revseg.datasets.annotations import masks_folder, png_track
from revseg.datasets.benchmark import Benchmark, Item, check_root, check_split, index
from revseg.datasets.layout import read_videos
from revseg.errors import InputError
from revseg.masks import MaskTrack
from revseg.registry import register
from revseg.video import Video


@register("dataset", "reason_vos")
class ReasonVOS(Benchmark):
    """ReasonVOS: a sequence of samples from the official folders, for testing only.

    Only frames that have a mask PNG count, so the truth is on those alone (`truth.frame_ids`). A query's id is
    "{source}_{video}_{obj_id}/{exp_id}", which is where the official script looks for its prediction.

    `meta` adds `source`, `obj_id` (text), `mask_folder` and `is_sent`: True where the text is a whole question, False
    for a description, which the field puts into another prompt.

    Options:
        root: the folder that holds `JPEGImages/`, `Annotations/` and `meta_expressions.json`.
        split: "test"; there is no other.
        exclude: ids of videos or queries to leave out, with `*`; a list, one pattern, or a .txt file.
        fps: nominal frames a second.
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
        name = item.fields["mask_folder"]
        source = str(item.fields["source"])
        lower = source.lower() + name.removeprefix(source)  # the official scripts differ: one lowers it, one does not
        if not (self.masks / name).is_dir() and (self.masks / lower).is_dir():
            name = lower
        return png_track(masks_folder(self.masks, name), item.frames, [None])


def _complete(listed: Path, item: Item, entry: dict[str, object]) -> Item:
    """The item with what the file says of its video, and the official name of its masks."""
    fields = item.fields
    missing = [key for key, held in (("source", entry), ("obj_id", fields)) if key not in held]
    if missing:
        raise InputError(f'{listed}: {item.query_id}: expected "{missing[0]}", a part of the name of its masks')
    source, obj_id = str(entry["source"]), str(fields["obj_id"])
    folder = f"{source}_{item.video}_{obj_id}"
    sentence = fields.get("is_sent", entry.get("is_sent"))
    known = {**fields, "source": source, "obj_id": obj_id, "mask_folder": folder, "is_sent": _flag(sentence)}
    return replace(item, fields=known, id=f"{folder}/{item.exp_id}")


def _flag(value: object) -> bool | None:
    """True and False as JSON, as numbers or as text."""
    return None if value is None else str(value).lower() in ("1", "true", "yes")
