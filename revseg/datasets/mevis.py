"""MeViS, versions 1 and 2: `<split>/{JPEGImages, meta_expressions.json, mask_dict.json}`."""

from collections.abc import Mapping, Sequence
from typing import Any

from revseg.datasets.benchmark import Benchmark, Item, as_list, check_root, check_split, index, texts
from revseg.datasets.coco_masks import MaskDict
from revseg.errors import InputError
from revseg.masks import MaskTrack
from revseg.registry import register
from revseg.video import Video

FILES = {  # per version, in order of preference; "release" is version 2's valid split without answers
    1: ("meta_expressions.json",),
    2: ("meta_expressions_v2.json", "meta_expressions_v2_release.json"),
}
COUNTS = {
    1: {
        "train": {"videos": 1662, "expressions": 23051},
        "valid_u": {"videos": 50, "expressions": 793},
        "valid": {"videos": 140, "expressions": 2236},
    },
    2: {
        "train": {"videos": 1662, "expressions": 27502},
        "valid_u": {"videos": 50, "expressions": 907},
        "valid": {"videos": 140, "expressions": 2523},
    },
}


@register("dataset", "mevis")
class MeViS(Benchmark):
    """MeViS: a sequence of samples from the official folders. Version 2 has expressions without a target.

    The truth has one row per object of the expression; objects may overlap, score their union. An expression without a
    target has one empty row. The valid split has no masks (a server scores it): its truth is None.

    `meta` adds `obj_id` (list of numbers), `anno_id` (list of texts, the keys of `mask_dict.json`), `no_target`
    (None if the split does not tell) and `version`.

    Options:
        root: the folder with `train/`, `valid_u/` and `valid/`.
        split: "train", "valid_u" or "valid".
        version: 1 reads `meta_expressions.json`; 2 reads `meta_expressions_v2.json`, else
            `meta_expressions_v2_release.json`, else `meta_expressions.json`; None reads the only one that exists.
        exclude: ids of videos or queries to leave out, `*` allowed: one pattern, a list, or a .txt file with one per
            line.
        fps: nominal frames per second.
    """

    name = "mevis"

    def __init__(
        self,
        *,
        root: str,
        split: str = "valid_u",
        version: int | None = None,
        exclude: str | Sequence[str] = (),
        fps: float | None = None,
    ) -> None:
        check_split(split, ("train", "valid_u", "valid"))
        base = check_root(root, split) / split
        there = {n: name for n, names in FILES.items() for name in reversed(names) if (base / name).is_file()}
        if version not in (None, 1, 2):
            raise InputError(f"expected version 1 or 2, got {version!r}")
        if version is None and len(there) == 2:
            raise InputError(f"{base}: contains {there[1]} and {there[2]}; choose with version=1 or version=2")
        self.version = version or next(iter(there), 1)
        file = FILES[1][0] if self.version == 2 and 2 not in there else there.get(self.version, FILES[1][0])
        self.masks = MaskDict(base / "mask_dict.json")
        super().__init__(root, split, index(base / file, base / "JPEGImages"), exclude, fps)
        answered = any(
            "anno_id" in item.fields for item in self.items
        )  # version 2's valid has masks, but does not say whose
        self.has_masks = self.masks.path.is_file() and (answered or split != "valid")
        if self.has_masks:
            lacking = [item for item in self.items if "anno_id" not in item.fields]
            if lacking:
                raise InputError(f'{base / file}: {lacking[0].query_id}: expected "anno_id", the ids of its masks')

    def expected_counts(self) -> Mapping[str, int]:
        return COUNTS[self.version][self.split]

    def meta(self, item: Item) -> dict[str, Any]:
        known = "anno_id" in item.fields
        ids = texts(item.fields.get("anno_id"))
        listed = {"obj_id": as_list(item.fields["obj_id"])} if "obj_id" in item.fields else {}
        named = {**listed, "anno_id": ids} if known else listed
        return {**named, "no_target": not ids if known else None, "version": self.version}

    def truth(self, item: Item, video: Video) -> MaskTrack | None:
        if not self.has_masks:
            return None
        return self.masks.track(texts(item.fields["anno_id"]), len(item.frames), video.size)
