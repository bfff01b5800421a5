"""FeVOS: `JPEGImages/<video>`, `meta_expressions_<split>.json`, `mask_dict.json`."""

from collections.abc import Sequence
from typing import Any

from revseg.datasets.benchmark import Benchmark, Item, as_list, check_fields, check_root, check_split, index, texts
from revseg.datasets.coco_masks import MaskDict
from revseg.masks import MaskTrack
from revseg.registry import register
from revseg.video import Video

COUNTS = {
    "train": {"videos": 779, "expressions": 11708},
    "val": {"videos": 189, "expressions": 2817},
}


@register("dataset", "fevos")
class FeVOS(Benchmark):
    """FeVOS, questions about future events: a sequence of samples from the official folders.

    One `mask_dict.json` serves both splits. The truth has one row per mask of the expression; score their union.
    `meta` adds `ans` (the answer in words), `obj_id` (list), `anno_id` (list of texts) and `no_target`.

    Options:
        root: the folder with `JPEGImages/` (JPEGImages.zip unpacked) and the JSON files.
        split: "train" or "val".
        exclude: ids of videos or queries to leave out, `*` allowed: one pattern, a list, or a .txt file with one per
            line.
        fps: nominal frames per second.
    """

    name = "fevos"
    source = (
        "https://huggingface.co/datasets/FudanCVL/FeVOS; 968 videos, 14,525 expressions, 30,125 frames; its card names "
        "no licence: ask there"
    )
    official = COUNTS

    def __init__(
        self, *, root: str, split: str = "val", exclude: str | Sequence[str] = (), fps: float | None = None
    ) -> None:
        check_split(split, ("train", "val"))
        base = check_root(root, f"meta_expressions_{split}.json")
        listed = base / f"meta_expressions_{split}.json"
        self.masks = MaskDict(base / "mask_dict.json")
        super().__init__(root, split, index(listed, base / "JPEGImages"), exclude, fps)
        check_fields(listed, self.items, "anno_id")

    def meta(self, item: Item) -> dict[str, Any]:
        ids = texts(item.fields["anno_id"])
        return {"obj_id": as_list(item.fields.get("obj_id")), "anno_id": ids, "no_target": not ids}

    def truth(self, item: Item, video: Video) -> MaskTrack | None:
        return self.masks.track(texts(item.fields["anno_id"]), len(item.frames), video.size)
