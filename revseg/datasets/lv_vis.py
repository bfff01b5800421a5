"""LV-VIS as reasoning segmentation trains on it: VISA's `train/{JPEGImages, mask_dict.json, meta_expressions.json}`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from revseg.datasets.annotations import MaskDict, texts
from revseg.datasets.benchmark import Benchmark, Item, check_root, check_split, index
from revseg.masks import MaskTrack
from revseg.registry import register
from revseg.video import Video


@register("dataset", "lv_vis")
class LVVIS(Benchmark):
    """LV-VIS: category names as queries; for training only, since not every instance is annotated.

    "baseball_bat" is asked as "baseball bat"; `meta` keeps the name as `category`, and `anno_id`, a list of texts. The
    truth has a row for each instance; score their union.

    Options:
        root: the folder that holds `train/`.
        split: "train"; there is no other.
        exclude: ids of videos or queries to leave out, with `*`; a list, one pattern, or a .txt file.
        fps: nominal frames a second.
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
