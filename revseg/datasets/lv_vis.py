"""LV-VIS as distributed by VISA: `train/{JPEGImages, mask_dict.json, meta_expressions.json}`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from revseg.datasets.benchmark import Benchmark, Item, check_root, check_split, index, texts
from revseg.datasets.coco_masks import MaskDict
from revseg.masks import MaskTrack
from revseg.registry import register
from revseg.video import Video


@register("dataset", "lv_vis")
class LVVIS(Benchmark):
    """LV-VIS, category names as queries; for training only, because not every instance is annotated.

    The query for "baseball_bat" is "baseball bat". `meta` adds the name as `category`, and `anno_id` (list of texts).
    The truth has one row per instance; score their union.

    Options:
        root: the folder with `train/`.
        split: "train", the only one.
        exclude: ids of videos or queries to leave out, `*` allowed: one pattern, a list, or a .txt file with one per
            line.
        fps: nominal frames per second.
    """

    name = "lv_vis"

    def __init__(
        self, *, root: str, split: str = "train", exclude: str | Sequence[str] = (), fps: float | None = None
    ) -> None:
        check_split(split, ("train",))
        base = check_root(root, f"{split}/meta_expressions.json") / split
        self.masks = MaskDict(base / "mask_dict.json")
        listed = index(base / "meta_expressions.json", base / "JPEGImages")
        items = [replace(i, text=i.text.replace("_", " "), fields={**i.fields, "category": i.text}) for i in listed]
        super().__init__(root, split, items, exclude, fps)

    def meta(self, item: Item) -> dict[str, Any]:
        return {"anno_id": texts(item.fields.get("anno_id"))}

    def truth(self, item: Item, video: Video) -> MaskTrack | None:
        return self.masks.track(texts(item.fields.get("anno_id")), len(item.frames), video.size)
