"""Ref-DAVIS17 as distributed: DAVIS 2017 (unsupervised, 480p) and four text files; or as ReferFormer converts it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from revseg.datasets.benchmark import Benchmark, Item, check_root, check_split, index
from revseg.datasets.davis_text import FILES, read_expressions
from revseg.datasets.layout import existing, frame_files, inside
from revseg.datasets.png_masks import masks_folder, object_number, png_track, read_labels
from revseg.errors import InputError
from revseg.masks import MaskTrack
from revseg.registry import register
from revseg.types import Sample
from revseg.video import Video

ANNOTATORS = tuple(FILES)  # annotator k wrote the expressions with the ids 4 * object + k
VOID = 255


@register("dataset", "ref_davis17")
class RefDAVIS17(Benchmark):
    """Ref-DAVIS17: a sequence of samples from the official archives, 24 frames a second.

    Two layouts are read: the unpacked archives, `DAVIS/` and `davis_text_annotations/`; and the result of ReferFormer's
    script, `meta_expressions/`, `train/`, `valid/`. Expression ids are the same: 4 * object + annotator, where the
    annotators are a1-first, a1-full, a2-first, a2-full.

    The truth is the object that is asked for. Protocol A, where all objects of an annotator compete, also needs
    `objects(video)` (described or not) and `void(video)`. Every frame must have its annotation, as in the official
    scorer.

    `meta` adds `obj_id` (text), `annotator` (0..3), `annotator_name`, `anno_id` (the running number of protocol B, over
    sorted videos and, within each, ids sorted as text) and `objects` (their number: the largest value on the first
    frame, as in the official scorer, which misses objects that appear later).

    Options:
        root: the folder with `DAVIS/` and `davis_text_annotations/`, or `meta_expressions/`.
        split: "train" or "valid".
        exclude: ids of videos or queries to leave out, `*` allowed: one pattern, a list, or a .txt file with one per
            line.
        fps: nominal frames per second.
    """

    name = "ref_davis17"
    official: ClassVar = {"train": {"videos": 60}, "valid": {"videos": 30}}
    frames_per_second = 24.0

    def __init__(
        self, *, root: str, split: str = "valid", exclude: str | Sequence[str] = (), fps: float | None = None
    ) -> None:
        check_split(split, ("train", "valid"))
        converted = Path(root) / "meta_expressions" / split / "meta_expressions.json"
        if converted.is_file():
            base = Path(root) / split
            self.masks = base / "Annotations"
            items = index(converted, base / "JPEGImages")
        else:
            base = check_root(root, "DAVIS") / "DAVIS"
            self.masks = base / "Annotations_unsupervised" / "480p"
            items = _unpacked(base, Path(root) / "davis_text_annotations", split)
        wrong = [item for item in items if not item.exp_id.isdecimal() or "obj_id" not in item.fields]
        if wrong:
            raise InputError(f"{root}: {wrong[0].query_id}: expected a numbered expression with an obj_id")
        order = sorted((item.video, item.exp_id) for item in items)
        self.numbers = {f"{video}/{exp_id}": str(number) for number, (video, exp_id) in enumerate(order)}
        self._read: tuple[str, MaskTrack] | None = (
            None  # the last video's masks, because its expressions are consecutive
        )
        super().__init__(root, split, items, exclude, fps)

    def meta(self, item: Item) -> dict[str, Any]:
        annotator = int(item.exp_id) % len(ANNOTATORS)
        named = {
            "obj_id": str(item.fields["obj_id"]),
            "annotator": annotator,
            "annotator_name": ANNOTATORS[annotator],
            "anno_id": self.numbers[item.query_id],
        }
        try:
            return {**named, "objects": self._count(item)}
        except InputError:  # an unreadable annotation: `truth` raises this error
            return named

    def truth(self, item: Item, video: Video) -> MaskTrack | None:
        return self._labels(item).select([object_number(item.fields["obj_id"], self.masks / item.video, VOID - 1) - 1])

    def objects(self, video: str) -> MaskTrack:
        """All objects of a video: row k is object k + 1, up to the largest value on the first frame."""
        item = self._item(video)
        return self._labels(item).select(list(range(self._count(item))))

    def void(self, video: str) -> MaskTrack:
        """The pixels that protocol A ignores (value 255)."""
        return self._labels(self._item(video)).select([-1])

    def faults(self, sample: Sample) -> list[str]:
        """Objects that the official scorer does not count, because they are not on the first frame."""
        number, counted = int(sample.meta["obj_id"]), sample.meta["objects"]
        if number > counted:
            return [f"object {number} is missed by the official scorer: the first frame shows {counted} objects"]
        return []

    def _item(self, video: str) -> Item:
        for item in self.items:
            if item.video == video:
                return item
        raise InputError(f"expected one of the {self.split} videos, got {video!r}")

    def _count(self, item: Item) -> int:
        """The largest value on the first frame other than void."""
        labels = read_labels(
            existing(inside(self.masks, item.video, f"{item.frames[0]}.png"), "the first frame's mask")
        )
        return int(labels[labels != VOID].max(initial=0))

    def _labels(self, item: Item) -> MaskTrack:
        """Row k is the object of value k + 1, up to the largest that is counted or described; the last row is void.

        InputError for a frame without annotation or an annotation without frame, where the official scorer stops.
        """
        if self._read is not None and self._read[0] == item.video:
            return self._read[1]
        folder = masks_folder(self.masks, item.video)
        odd = sorted(set(frame_files(folder)) ^ set(item.frames))
        if odd:
            raise InputError(
                f"{folder}: expected one annotation for each of the {len(item.frames)} frames; see {odd[0]}"
            )
        asked = [object_number(i.fields["obj_id"], folder, VOID - 1) for i in self.items if i.video == item.video]
        track = png_track(folder, item.frames, [*range(1, max(self._count(item), *asked) + 1), VOID])
        self._read = (item.video, track)
        return track


def _unpacked(base: Path, texts: Path, split: str) -> list[Item]:
    """The expressions of a split, from DAVIS's own lists and the four text files."""
    listed = existing(
        base / "ImageSets" / "2017" / ("val.txt" if split == "valid" else "train.txt"), "the split's videos"
    )
    read = {name: read_expressions(texts / file) for name, file in FILES.items()}
    items = []
    for video in listed.read_text("utf-8").split():
        folder = inside(base, "JPEGImages", "480p", video)
        frames = tuple(sorted(frame_files(folder)))
        per_annotator = [sorted(read[name].get(video, []), key=lambda pair: pair[0]) for name in ANNOTATORS]
        counts = [len(pairs) for pairs in per_annotator]
        if min(counts) != max(counts) or not counts[0]:
            named = ", ".join(f"{file}: {n}" for file, n in zip(FILES.values(), counts, strict=True))
            raise InputError(f"{texts}: expected as many expressions of {video!r} in each file, got {named}")
        for position in range(counts[0]):
            for annotator, pairs in enumerate(per_annotator):
                obj_id, text = pairs[position]
                exp_id = str(len(ANNOTATORS) * position + annotator)
                items.append(Item(video, exp_id, text, frames, folder, {"obj_id": obj_id}))
    return items
