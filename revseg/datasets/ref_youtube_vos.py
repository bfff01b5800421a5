"""Ref-YouTube-VOS: `meta_expressions/<split>/meta_expressions.json`, frames and palette PNGs in `<split>/`."""

import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from revseg.datasets.benchmark import Benchmark, Item, check_root, check_split, index
from revseg.datasets.layout import inside, read_videos
from revseg.datasets.png_masks import masks_folder, palette_track, png_track
from revseg.errors import RevsegWarning
from revseg.masks import MaskTrack
from revseg.registry import register
from revseg.types import Sample
from revseg.untrusted.reading import read_json
from revseg.video import Video

VALID_VIDEOS = 202


@register("dataset", "ref_youtube_vos")
class RefYouTubeVOS(Benchmark):
    """Ref-YouTube-VOS: a sequence of samples from the official folders. Frames are every fifth of 30 per second.

    The distributed valid file also lists the test videos: they are left out here, with a warning if not exactly 202
    videos remain. The valid split has no official masks, and its server is closed. Other masks can be read from
    `masks`: `<video>/<exp_id>/<frame>.png`, where anything but 0 is the object, or, if the expressions have an
    `obj_id`, palette PNGs `<video>/<frame>.png`.

    `meta` adds `obj_id` (text, as in the file) and, for train, `category` and `object_frames` (names of the frames
    that show the object) from `meta.json`.

    Options:
        root: the folder with `meta_expressions/`, `train/` and `valid/`.
        split: "train", "valid" or "test".
        masks: folder of masks; by default `<split>/Annotations`. Without such a folder there is no truth.
        exclude: ids of videos or queries to leave out, `*` allowed: one pattern, a list, or a .txt file with one per
            line.
        fps: nominal frames per second.
    """

    name = "ref_youtube_vos"
    official: ClassVar = {"valid": {"videos": VALID_VIDEOS}}
    frames_per_second = 6.0

    def __init__(
        self,
        *,
        root: str,
        split: str = "valid",
        masks: str | None = None,
        exclude: str | Sequence[str] = (),
        fps: float | None = None,
    ) -> None:
        check_split(split, ("train", "valid", "test"))
        base = check_root(root, f"meta_expressions/{split}/meta_expressions.json")
        listed = base / "meta_expressions" / split / "meta_expressions.json"
        images = base / split / "JPEGImages"
        if split == "test" and not images.is_dir():
            images = base / "valid" / "JPEGImages"
        only = _validation_videos(base) if split == "valid" else None
        self.masks = Path(masks) if masks else base / split / "Annotations"
        if masks:
            check_root(masks, "")
        super().__init__(root, split, index(listed, images, only), exclude, fps)

    @cached_property
    def objects(self) -> dict[str, Any]:
        """The objects of each video, from the split's `meta.json`; empty if there is no such file."""
        path = self.root / self.split / "meta.json"
        return read_json(path, "the objects of each video").get("videos", {}) if path.is_file() else {}

    def meta(self, item: Item) -> dict[str, Any]:
        known = self.objects.get(item.video, {}).get("objects", {}).get(str(item.fields.get("obj_id")), {})
        named = {"category": known.get("category"), "object_frames": known.get("frames")}
        return {key: value for key, value in named.items() if value is not None}

    def truth(self, item: Item, video: Video) -> MaskTrack | None:
        if not self.masks.is_dir():
            return None
        if "obj_id" in item.fields:
            return palette_track(masks_folder(self.masks, item.video), item.frames, item.fields["obj_id"])
        return png_track(masks_folder(self.masks, item.video, item.exp_id), item.frames, [None])

    def faults(self, sample: Sample) -> list[str]:
        """Frames that show the object according to meta.json, but on which it has no mask."""
        shown, truth = sample.meta.get("object_frames"), sample.truth
        if not shown or truth is None:
            return []
        seen = {sample.meta["frames"][i] for i, v in zip(truth.frame_ids, truth.visible, strict=True) if v}
        unseen = sorted(set(shown) - seen)
        return [f"meta.json has the object on {len(unseen)} frames without its mask, {unseen[0]} first"] * bool(unseen)


def _validation_videos(base: Path) -> set[str]:
    """The videos of the valid file that the test file does not list."""
    listed = base / "meta_expressions" / "valid" / "meta_expressions.json"
    other = inside(base, "meta_expressions/test/meta_expressions.json")
    tested = set(read_videos(other)) if other.is_file() else set()
    left = set(read_videos(listed)) - tested
    if len(left) != VALID_VIDEOS:
        why = "" if tested else f"; {other} is missing, which lists what to leave out"
        warnings.warn(
            f"{listed}: expected {VALID_VIDEOS} validation videos once those of the test set are left out, got "
            f"{len(left)}{why}: scores will not compare with others",
            RevsegWarning,
            stacklevel=3,
        )
    return left
