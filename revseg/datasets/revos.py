"""ReVOS: `JPEGImages/`, `mask_dict.json`, `mask_dict_foreground.json`, `meta_expressions_<split>_.json`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from revseg.datasets.alignment import displaced, first_frames_only
from revseg.datasets.benchmark import Benchmark, Item, as_list, check_root, check_split, index, texts
from revseg.datasets.coco_masks import MaskDict, rle_track
from revseg.errors import InputError
from revseg.masks import MaskTrack
from revseg.registry import register
from revseg.types import Sample
from revseg.video import Video

TYPES = {0: "referring", 1: "reasoning", 2: "no target"}
TAO_STRIDE = 30


@register("dataset", "revos")
class ReVOS(Benchmark):
    """ReVOS: a sequence of samples from the official folders.

    Video ids may contain slashes ("UVO/all/-CiPki3XuVI"). The truth has one row per annotated object; objects may
    overlap, score their union. Expressions of type 2 have no target: one empty row, whatever `anno_id` says.

    Known faults: in the TAO part the i-th mask mostly belongs to frame 30*i, and masks of the UVO part drift. They are
    read as stored, as for all published results. `revseg data check` lists the videos, `exclude` leaves them out, and
    `tao_stride` moves the masks of TAO videos that look displaced to every 30th frame.

    `meta` adds `obj_id` (list), `anno_id` (list of texts), `type_id` (0 referring, 1 reasoning, 2 no target), `type`
    (in words) and `no_target`.

    Options:
        root: the folder with `JPEGImages/` and the JSON files.
        split: "train", "train_sub" or "valid".
        tao_stride: True moves the i-th mask of displaced TAO videos to frame 30*i and leaves the frames between out of
            the truth. Such scores do not compare with published ones.
        exclude: ids of videos or queries to leave out, such as "TAO/*": one pattern, a list, or a .txt file with one
            per line.
        fps: nominal frames per second.
    """

    name = "revos"

    def __init__(
        self,
        *,
        root: str,
        split: str = "valid",
        tao_stride: bool = False,
        exclude: str | Sequence[str] = (),
        fps: float | None = None,
    ) -> None:
        check_split(split, ("train", "train_sub", "valid"))
        base = check_root(root, f"meta_expressions_{split}_.json")
        self.tao_stride = tao_stride
        self.masks, self.foregrounds = MaskDict(base / "mask_dict.json"), MaskDict(base / "mask_dict_foreground.json")
        listed = base / f"meta_expressions_{split}_.json"
        super().__init__(root, split, index(listed, base / "JPEGImages"), exclude, fps)
        for item in self.items:
            if item.fields.get("type_id") not in TYPES:
                raise InputError(
                    f'{listed}: {item.query_id}: expected "type_id" 0, 1 or 2, got {item.fields.get("type_id")!r}'
                )

    def meta(self, item: Item) -> dict[str, Any]:
        type_id = item.fields["type_id"]
        ids = {"obj_id": as_list(item.fields.get("obj_id")), "anno_id": texts(item.fields.get("anno_id"))}
        return {**ids, "type": TYPES[type_id], "no_target": type_id == 2 or not ids["anno_id"]}

    def truth(self, item: Item, video: Video) -> MaskTrack | None:
        ids = texts(item.fields.get("anno_id")) if item.fields["type_id"] != 2 else []
        track = self.masks.track(ids, len(item.frames), video.size)
        if self.tao_stride and _is_tao(item.video) and first_frames_only(track, TAO_STRIDE):
            ids_there = np.arange(0, len(track), TAO_STRIDE)
            rows = tuple(row[: len(ids_there)] for row in track.counts)
            return MaskTrack(rows, track.size, ids_there)
        return track

    def foreground(self, video: str) -> MaskTrack | None:
        """The union of a video's annotated objects, which the robustness score R divides by; None without its file."""
        if not self.foregrounds.path.is_file():
            return None
        entry = self.foregrounds.entry(video)
        where = f"{self.foregrounds.path}: {video}"
        codes = entry.get("masks_rle") if isinstance(entry, dict) else None
        if not isinstance(codes, list) or not any(codes):
            raise InputError(f'{where}: expected {{"masks_rle": [one code a frame]}}')
        return rle_track([(where, codes)], len(codes), (1, 1))

    def faults(self, sample: Sample) -> list[str]:
        """TAO masks on the first frames only, masks that fit other frames better, type 2 with masks."""
        video, truth, found = sample.meta["video"], sample.truth, []
        if sample.meta["type_id"] == 2 and sample.meta["anno_id"]:
            found.append(f"type 2 (no target) has the masks {sample.meta['anno_id']}; they are ignored")
        if sample.meta["type_id"] != 2 and not sample.meta["anno_id"]:
            found.append("no anno_id although the type says that there is a target")
        if truth is None or self.tao_stride:
            return found
        if _is_tao(video) and first_frames_only(truth, TAO_STRIDE):
            found.append(f"masks on the first frames only: the i-th belongs to frame {TAO_STRIDE}*i (VISA issue 9)")
        elif displaced(sample.video, truth, TAO_STRIDE):
            found.append(f"the masks fit the frames {TAO_STRIDE}*i better than their own (VISA issues 9 and 18)")
        return found


def _is_tao(video: str) -> bool:
    return "tao" in video.lower().split("/")
