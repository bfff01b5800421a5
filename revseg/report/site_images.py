"""The frames that a site shows of each sample: which ones, and as small pictures where the video can be opened."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from revseg.colours import RGB, choose_colours
from revseg.diagnosis.error_attribution import keyframes_of
from revseg.errors import InputError, RevsegError, SpecError
from revseg.evaluation.results import Results, Row
from revseg.masks import MaskTrack
from revseg.output import is_full
from revseg.registry import build
from revseg.report.pictures import jpeg
from revseg.spec import parse_spec
from revseg.types import Dataset, Sample
from revseg.untrusted.trust import check_foreign
from revseg.video import read_picture

WIDTH, QUALITY = 320, 80


class SiteImages:
    """Writes pictures into `folder`, a sub-folder per video; a frame is written once however many samples show it.

    File names are numbers given here: no part of a video's own name gets into a path.
    """

    def __init__(self, folder: Path, data: Dataset | None, frames: int) -> None:
        self.folder, self.data, self.frames = folder, data, frames
        self._videos: dict[Any, int] = {}

    def write(self, index: int, runs: Sequence[Row | None]) -> tuple[list[int], list[str], str]:
        """Pictures of one sample in one or two runs: (frame ids, addresses, why there are none or "").

        The addresses are relative to the site, and "" where there is no picture.
        """
        ids = choose_frames(runs, self.frames)
        if self.data is None or not ids:
            return ids, [""] * len(ids), ""
        try:
            sample = self.data[index]
            row = next(row for row in runs if row is not None)
            if (sample.query.id, sample.video.id) != (row.query, row.video):
                return ids, [""] * len(ids), "no pictures: the dataset has another query at this place"
            return ids, self._pictures(sample, ids), ""
        except Exception as error:  # as in `evaluate`: a sample that cannot be read must not cost the whole site
            if isinstance(error, OSError) and is_full(error):
                raise
            return ids, [""] * len(ids), f"no pictures: {type(error).__name__}: {error}"

    def _pictures(self, sample: Sample, ids: list[int]) -> list[str]:
        video = sample.video
        # A video's id is a name, and names repeat: size, length and source file tell videos apart.
        source = getattr(video.reader, "path", getattr(video.reader, "paths", None))
        number = self._videos.setdefault((video.id, video.size, len(video), source), len(self._videos))
        folder = self.folder / f"{number:05d}"
        folder.mkdir(parents=True, exist_ok=True)
        todo = [frame for frame in ids if not (folder / f"{frame:06d}.jpg").exists()]
        if todo:
            for frame, pixels in zip(todo, video.read(np.array(todo)), strict=True):
                (folder / f"{frame:06d}.jpg").write_bytes(jpeg(pixels, WIDTH, QUALITY))
        return [f"pictures/{number:05d}/{frame:06d}.jpg" for frame in ids]

    def colours(self, pictures: Sequence[str], frames: Sequence[int], runs: Sequence[Row | None]) -> list[RGB]:
        """Colours for the objects of a sample, chosen against its pictures; none without pictures."""
        tracks = [row.masks for row in runs if row is not None and row.masks is not None]
        objects = max((track.objects for track in tracks), default=0)
        pairs = [(name, frame) for name, frame in zip(pictures, frames, strict=True) if name]
        if not objects or not pairs:
            return []
        pixels = [read_picture(self.folder.parent / name) for name, _ in pairs]
        masks = [_masks_on(tracks, frame, objects, pixels[0].shape) for _, frame in pairs]
        return choose_colours(pixels, masks, objects)


def _masks_on(tracks: Sequence[MaskTrack], frame: int, objects: int, shape: tuple[int, ...]) -> np.ndarray:
    """bool[o h w] at the size of a picture: object i is where any of the runs has it."""
    masks = np.zeros((objects, *shape[:2]), bool)
    for track in tracks:
        if frame in track.frame_ids:
            dense = track.dense([frame])[:, 0]
            rows, columns = (np.arange(n) * size // n for n, size in zip(shape[:2], dense.shape[1:], strict=True))
            masks[: len(dense)] |= dense[:, rows[:, None], columns]
    return masks


def choose_frames(runs: Sequence[Row | None], most: int) -> list[int]:
    """At most `most` frames of the source, evenly spread over those that the policy saw, the keyframes among them."""
    rows = [row for row in runs if row is not None]
    seen = next((row.data["frame_ids"] for row in rows if row.data.get("frame_ids")), None)
    if seen is None:
        seen = range(next((row.data["video"]["frames"] for row in rows if row.data.get("video")), 0))
    if not len(seen) or most < 1:
        return []
    places = np.linspace(0, len(seen) - 1, min(most, len(seen))).round().astype(int)
    chosen = list(dict.fromkeys(int(seen[i]) for i in places))
    keys = list(dict.fromkeys(frame for row in rows for frame in keyframes_of(row)))[:most]
    for key in keys:
        if key not in chosen:
            if len(chosen) >= most:
                chosen.remove(min((c for c in chosen if c not in keys), key=lambda c: abs(c - key)))
            chosen.append(key)
    return sorted(chosen)


def find_dataset(results: Results, dataset: Any, root: str | Path | None) -> tuple[Dataset | None, str]:
    """The dataset to take pictures from; or None and why, when the results' own cannot be opened.

    Raises InputError or SpecError when `dataset` or `root` is given and the dataset cannot be opened.
    """
    asked = dataset is not None or root is not None
    spec = results.header.get("dataset") if dataset is None else dataset
    try:
        name, options = _parts(spec)
        if dataset is None:
            check_foreign("dataset", spec, "the results", "name the dataset with --dataset")
    except RevsegError as error:
        if asked:
            raise
        return None, str(error)
    if root is not None:
        spec = {**options, "name": name, "root": str(root)}
    try:
        return build("dataset", spec), ""
    except Exception as error:  # options of a damaged file may be of any kind
        if asked and isinstance(error, RevsegError | OSError):
            raise
        if asked:
            raise InputError(f"the dataset {str(spec)[:80]!r} cannot be opened: {error!r}"[:400]) from error
        return None, f"the dataset cannot be opened ({str(error)[:200]}): say where it lies with --root"


def _parts(spec: Any) -> tuple[str, dict[str, Any]]:
    """A spec as (name, options). SpecError for what is none."""
    advice = "name the dataset with --dataset"
    if isinstance(spec, Mapping) and spec.get("name"):
        return str(spec["name"]), {str(k): v for k, v in spec.items() if k != "name"}
    if not isinstance(spec, str) or not spec:
        raise SpecError(f"expected a dataset as a spec, got {str(spec)[:80]!r}: {advice}")
    try:
        return parse_spec(spec)
    except SpecError as error:
        raise SpecError(f"{error}: {advice}") from error
