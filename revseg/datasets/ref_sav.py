"""Ref-SAV: `valid/{videos/<video>, meta_expressions_valid.json, mask_dict.json}`."""

from collections.abc import Sequence
from typing import Any

from revseg.datasets.benchmark import Benchmark, Item, as_list, check_fields, check_root, check_split, index, texts
from revseg.datasets.coco_masks import MaskDict
from revseg.errors import InputError
from revseg.masks import MaskTrack
from revseg.registry import register
from revseg.video import Video

TYPES = {0: "long", 1: "short"}


@register("dataset", "ref_sav")
class RefSAV(Benchmark):
    """Ref-SAV, its test part: a sequence of samples from Sa2VA's folders, whose layout is close to that of MeViS.

    The truth has one row per mask of the expression; score their union. `meta` adds `obj_id` (list), `anno_id`
    (list of texts, the keys of `mask_dict.json`), `type_id` (0 or 1), `type` ("long" or "short" expression) and
    `no_target`.

    Options:
        root: the folder with `valid/`.
        split: "valid", the only one.
        exclude: ids of videos or queries to leave out, `*` allowed: one pattern, a list, or a .txt file with one per
            line.
        fps: nominal frames per second.
    """

    name = "ref_sav"
    source = (
        "the authors of Sa2VA (https://github.com/magic-research/Sa2VA); its videos are of SA-V "
        "(https://ai.meta.com/datasets/segment-anything-video): read the licences of both"
    )

    def __init__(
        self, *, root: str, split: str = "valid", exclude: str | Sequence[str] = (), fps: float | None = None
    ) -> None:
        check_split(split, ("valid",))
        listed = check_root(root, "valid/meta_expressions_valid.json") / "valid/meta_expressions_valid.json"
        self.masks = MaskDict(listed.with_name("mask_dict.json"))
        super().__init__(root, split, index(listed, listed.with_name("videos")), exclude, fps)
        check_fields(listed, self.items, "anno_id", "type_id")
        for item in self.items:
            kind = item.fields["type_id"]
            if type(kind) is not int or kind not in TYPES:
                raise InputError(f'{listed}: {item.query_id}: expected "type_id" 0 (long) or 1 (short), got {kind!r}')

    def meta(self, item: Item) -> dict[str, Any]:
        ids = texts(item.fields["anno_id"])
        kind = TYPES[item.fields["type_id"]]
        return {"obj_id": as_list(item.fields.get("obj_id")), "anno_id": ids, "type": kind, "no_target": not ids}

    def truth(self, item: Item, video: Video) -> MaskTrack | None:
        return self.masks.track(texts(item.fields["anno_id"]), len(item.frames), video.size)
