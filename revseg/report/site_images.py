"""The frames that a site shows of each sample: which, and as small pictures where the video can be opened."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from revseg.colours import RGB, choose_colours
from revseg.diagnosis.error_attribution import keyframes_of
from revseg.evaluation.results import Row
from revseg.masks import MaskTrack
from revseg.output import is_full
from revseg.report.pictures import jpeg
from revseg.types import Dataset, Sample
from revseg.video import read_picture

WIDTH, QUALITY = 320, 80


class Album:
    """Writes pictures into `folder`, a sub-folder per video, each frame once however many samples show it.

    Names are numbers given here: nothing of a video's own name gets into a path.
    """

    def __init__(self, folder: Path, data: Dataset | None, frames: int) -> None:
        self.folder, self.data, self.frames = folder, data, frames
        self._videos: dict[Any, int] = {}

    def show(self, index: int, runs: Sequence[Row | None]) -> tuple[list[int], list[str], str]:
        """Of one sample in one or two runs: frame ids, their pictures' addresses, and why there are none.

        The addresses are relative to the site and empty where there is no picture.
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
        except Exception as error:  # as in `evaluate`: one sample that cannot be read is no lost site
            if isinstance(error, OSError) and is_full(error):
                raise
            return ids, [""] * len(ids), f"no pictures: {type(error).__name__}: {error}"

    def _pictures(self, sample: Sample, ids: list[int]) -> list[str]:
        video = sample.video
        source = getattr(video.reader, "path", getattr(video.reader, "paths", None))  # ids are names, which repeat
        number = self._videos.setdefault((video.id, video.size, len(video), source), len(self._videos))
        names = [f"pictures/{number:05d}/{frame:06d}.jpg" for frame in ids]
        place = self.folder / f"{number:05d}"
        place.mkdir(parents=True, exist_ok=True)
        todo = [i for i, frame in enumerate(ids) if not (place / f"{frame:06d}.jpg").exists()]
        if todo:
            for i, frame in zip(todo, video.read(np.array([ids[i] for i in todo])), strict=True):
                (place / f"{ids[i]:06d}.jpg").write_bytes(jpeg(frame, WIDTH, QUALITY))
        return names

    def colours(self, pictures: Sequence[str], frames: Sequence[int], runs: Sequence[Row | None]) -> list[RGB]:
        """Colours for the objects of a sample, chosen against its pictures; none where there are none."""
        tracks = [row.masks for row in runs if row is not None and row.masks is not None]
        objects = max((track.objects for track in tracks), default=0)
        pairs = [(name, frame) for name, frame in zip(pictures, frames, strict=True) if name]
        if not objects or not pairs:
            return []
        seen = [read_picture(self.folder.parent / name) for name, _ in pairs]
        return choose_colours(seen, [_masks_on(tracks, frame, objects, seen[0].shape) for _, frame in pairs], objects)


def _masks_on(tracks: Sequence[MaskTrack], frame: int, objects: int, shape: tuple[int, ...]) -> np.ndarray:
    """bool[o h w] at the size of a picture: object i of any run."""
    found = np.zeros((objects, *shape[:2]), bool)
    for track in tracks:
        if frame in track.frame_ids:
            dense = track.dense([frame])[:, 0]
            rows, columns = (np.arange(n) * size // n for n, size in zip(shape[:2], dense.shape[1:], strict=True))
            found[: len(dense)] |= dense[:, rows[:, None], columns]
    return found


def choose_frames(runs: Sequence[Row | None], most: int) -> list[int]:
    """At most `most` frames of the source: evenly spread over those that the policy saw, the keyframes among them."""
    rows = [row for row in runs if row is not None]
    seen = next((row.data["frame_ids"] for row in rows if row.data.get("frame_ids")), None)
    if seen is None:
        count = next((row.data["video"]["frames"] for row in rows if row.data.get("video")), 0)
        seen = range(count)
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
