"""Long-RVOS: `<split>/{JPEGImages, Annotations/<video>/<obj_id>/<frame>.png, meta_expressions.json}`."""

from collections.abc import Sequence
from typing import Any

from revseg.datasets.benchmark import Benchmark, Item, check_root, check_split, index
from revseg.datasets.layout import inside
from revseg.datasets.png_masks import masks_folder, odd_values, png_track
from revseg.masks import MaskTrack
from revseg.registry import register
from revseg.types import Sample
from revseg.video import Video


@register("dataset", "long_rvos")
class LongRVOS(Benchmark):
    """Long-RVOS, videos of a minute and more: a sequence of samples from the official folders.

    Anything but 0 is the object, as in the official scorer; the files should contain 0 and 255. A missing file is an
    empty mask, a missing folder is an error. Truth is None if the split has no `Annotations/`. `meta` adds `obj_id`
    (text) and `type` ("static", "dynamic" or "hybrid").

    Options:
        root: the folder with `train/`, `valid/` and `test/`.
        split: "train", "valid" or "test".
        exclude: ids of videos or queries to leave out, `*` allowed: one pattern, a list, or a .txt file with one per
            line.
        fps: nominal frames per second.
    """

    name = "long_rvos"

    def __init__(
        self, *, root: str, split: str = "valid", exclude: str | Sequence[str] = (), fps: float | None = None
    ) -> None:
        check_split(split, ("train", "valid", "test"))
        base = check_root(root, f"{split}/meta_expressions.json") / split
        self.masks = base / "Annotations"
        super().__init__(root, split, index(base / "meta_expressions.json", base / "JPEGImages"), exclude, fps)

    def meta(self, item: Item) -> dict[str, Any]:
        return {"obj_id": str(item.fields["obj_id"])} if "obj_id" in item.fields else {}

    def truth(self, item: Item, video: Video) -> MaskTrack | None:
        if not self.masks.is_dir():
            return None
        folder = masks_folder(self.masks, item.video, item.fields.get("obj_id", ""))
        return png_track(folder, item.frames, [None], absent=video.size)

    def faults(self, sample: Sample) -> list[str]:
        """Masks with values other than 0 and 255: the scorer counts them, the official training code takes 255 only."""
        if sample.truth is None:
            return []
        return odd_values(inside(self.masks, sample.meta["video"], sample.meta["obj_id"]))
