"""Your own data: one JSON file that lists videos, queries and masks; see docs/how-to/datasets.md."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from revseg.datasets.benchmark import check_root
from revseg.datasets.coco_masks import rle_track
from revseg.datasets.layout import frame_files, inside
from revseg.datasets.png_masks import object_number, png_track
from revseg.errors import InputError
from revseg.masks import MaskTrack
from revseg.registry import register
from revseg.types import Query, Sample
from revseg.untrusted.reading import read_json
from revseg.video import FolderReader, Video

KEYS = {"id", "video", "query", "masks", "object", "split", "meta", "fps"}


@dataclass(frozen=True)
class Entry:
    """One sample as the JSON lists it."""

    id: str
    fields: Mapping[str, Any]


@register("dataset", "folder")
class Folder:
    """Data of your own: `{"samples": [{"video": ..., "query": ..., "masks": ...}, ...]}` in one JSON file.

    `video` is a video file or a folder of frames, as a path below the root. `masks` is one of: a folder of PNGs, where
    anything but 0 is the target, or only the value `object` (each sub-folder is one object; JPEGs and antialiased edges
    are refused); the path of a `masks.json` written by revseg; COCO codes, one or null per frame (a list of such lists
    for several objects); [] if the target is not in the video; left out if unknown. A frame without a PNG is not
    annotated. Further keys: `id`, `split`, `fps`, and `meta`, which is passed on.

    Options:
        root: the folder that all paths are relative to.
        file: the name of the JSON file below the root.
        split: only samples with this `split`; None for all.
    """

    name = "folder"

    def __init__(self, *, root: str, file: str = "dataset.json", split: str | None = None) -> None:
        self.root, self.split = check_root(root, file), split
        self.path = self.root / file
        data = read_json(self.path, "the list of samples")
        listed = data.get("samples") if isinstance(data, dict) else data
        if not isinstance(listed, list):
            raise InputError(f'{self.path}: expected {{"samples": [{{"video": ..., "query": ...}}, ...]}}')
        entries = [self._entry(number, fields) for number, fields in enumerate(listed)]
        self.entries = tuple(e for e in entries if split is None or e.fields.get("split") == split)
        if split is not None and not self.entries:
            there = sorted({str(e.fields["split"]) for e in entries if "split" in e.fields}) or ["none"]
            raise InputError(f"{self.path}: no sample of split {split!r}; there are {', '.join(there)}")
        twice = [id for id, times in Counter(e.id for e in self.entries).items() if times > 1]
        if twice:
            raise InputError(f'{self.path}: expected every "id" once, got {twice[0]!r} twice')

    def _entry(self, number: int, fields: Any) -> Entry:
        where = f"{self.path}: sample {number}"
        if not isinstance(fields, dict) or not all(isinstance(fields.get(key), str) for key in ("video", "query")):
            raise InputError(f'{where}: expected {{"video": path, "query": text, ...}}, got {str(fields)[:80]}')
        unknown = sorted(set(fields) - KEYS)
        if unknown:
            raise InputError(f"{where}: unknown key {unknown[0]!r}; known: {', '.join(sorted(KEYS))}")
        inside(self.root, fields["video"])
        return Entry(str(fields.get("id", f"{fields['video']}/{number}")), fields)

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        return f"Folder({self.path}: {len(self)} samples)"

    def __getitem__(self, index: int) -> Sample:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        entry = self.entries[index]
        fields = entry.fields
        video = self._video(fields)
        truth = self._truth(entry, video) if "masks" in fields else None
        return Sample(video, Query(entry.id, fields["query"]), truth, self._meta(fields))

    def listed(self, index: int) -> tuple[str, Query, dict[str, Any]]:
        """(video id, query, meta) of a sample from the JSON alone, for samples whose files are damaged."""
        entry = self.entries[index]
        return entry.fields["video"], Query(entry.id, entry.fields["query"]), self._meta(entry.fields)

    def _meta(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        no_target = fields["masks"] == [] if "masks" in fields else None
        named = {"split": fields.get("split"), "video": fields["video"], "no_target": no_target}
        return {"dataset": self.name, **named, **fields.get("meta", {})}

    def _video(self, fields: Mapping[str, Any]) -> Video:
        path = inside(self.root, fields["video"])
        opened = Video.open(path, fps=fields.get("fps"))
        return Video(fields["video"], opened.size, opened.fps, opened.length, opened.reader)

    def _truth(self, entry: Entry, video: Video) -> MaskTrack:
        masks, where = entry.fields["masks"], f"{self.path}: {entry.id}: masks"
        if isinstance(masks, str) and masks.endswith(".json"):
            track = MaskTrack.from_dict(read_json(inside(self.root, masks), "the masks"))
            if track.size != video.size or (len(track) and int(track.frame_ids.max()) >= len(video)):
                raise InputError(f"{where}: expected masks of {video!r}, got {track!r}")
            return track
        if isinstance(masks, str):
            return self._from_pngs(inside(self.root, masks), video, entry.fields.get("object"))
        if not isinstance(masks, list):
            raise InputError(f"{where}: expected a folder, a .json, a list of COCO codes or []; got {str(masks)[:60]}")
        several = bool(masks) and all(isinstance(row, list) for row in masks)
        rows = masks if several else [masks] * bool(masks)
        return rle_track([(f"{where}, object {k}", row) for k, row in enumerate(rows)], len(video), video.size)

    def _from_pngs(self, folder: Path, video: Video, value: Any) -> MaskTrack:
        values = [None if value is None else object_number(value, folder)]
        places = sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
        tracks = [png_track(place, frame_names(place, video), values, clean=True) for place in places or [folder]]
        first = tracks[0]
        if any(t.size != first.size or not np.array_equal(t.frame_ids, first.frame_ids) for t in tracks):
            raise InputError(f"{folder}: expected masks of one size on the same frames in every sub-folder")
        return MaskTrack(tuple(t.counts[0] for t in tracks), first.size, first.frame_ids)


def frame_names(folder: Path, video: Video) -> list[str]:
    """The names of the masks of frames 0, 1, ... in a folder: the name of the frame's file, or the frame's number.

    InputError for a PNG that belongs to no frame.
    """
    files = frame_files(folder)
    if isinstance(video.reader, FolderReader) and set(files) <= {path.stem for path in video.reader.paths}:
        return [path.stem for path in video.reader.paths]
    names = [""] * len(video)
    for name, path in files.items():
        if not name.isdecimal() or int(name) >= len(video):
            raise InputError(
                f"{path}: expected the name of a frame of {video.id}, or its number in 0..{len(video) - 1}"
            )
        names[int(name)] = name
    return names
