"""`results.json` as Sa2VA and VideoSEG-O3 write it: per video and expression a COCO run-length code for each frame."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from revseg.datasets.coco_masks import rle_track
from revseg.errors import InputError
from revseg.evaluation.formats.asked import Asked, Reader
from revseg.masks import MaskTrack
from revseg.untrusted.reading import read_json


@dataclass(frozen=True)
class ResultsJson:
    """`{video: {expression: {"prediction_masks": [code, ...], "frames": [...], "exp": text, ...}}}`.

    Of an entry only `prediction_masks` is read. It has a mask for every frame of the video: one that has no prediction
    is written as null, and null is read as an empty mask.
    """

    about: str
    suffix: str = ".json"

    def write(self, results: Iterable[tuple[Asked, MaskTrack]], out: Path) -> None:
        videos: dict[str, dict[str, Any]] = {}
        for index, (asked, track) in enumerate(results):
            codes = codes_of(track.union(), len(asked.frames))[0]
            names = {"index": index, "video_id": asked.video, "exp_id": asked.expression, "exp": asked.text}
            entry = {**names, "frames": list(asked.frames), "prediction_masks": codes}
            videos.setdefault(asked.video, {})[asked.expression] = entry
        out.write_text(json.dumps(videos), "utf-8")

    def open(self, path: Path) -> Reader:
        videos = read_json(path, "predictions as {video: {expression: {...}}}")
        if not isinstance(videos, dict) or not all(isinstance(entry, dict) for entry in videos.values()):
            raise InputError(f'{path}: expected {{video: {{expression: {{"prediction_masks": [...]}}}}}}')

        def read(asked: Asked) -> MaskTrack | None:
            found = [(v, e) for v, e in asked.places if e in videos.get(v, {})]
            if not found:
                return None
            video, expression = found[0]
            entry, where = videos[video][expression], f"{path}: {video}, {expression}"
            if not isinstance(entry, dict) or "prediction_masks" not in entry:
                raise InputError(f'{where}: expected the key "prediction_masks"')
            return rle_track([(where, entry["prediction_masks"])], len(asked.frames), asked.size)

        return read


def codes_of(track: MaskTrack, length: int) -> list[list[dict[str, Any] | None]]:
    """For each object a COCO code per frame of the video; None for a frame that the track does not have."""
    listed: list[list[dict[str, Any] | None]] = [[None] * length for _ in range(track.objects)]
    for position, frame in enumerate(track.frame_ids.tolist()):
        for number, row in enumerate(listed):
            row[frame] = {"size": list(track.size), "counts": track.counts[number][position].decode("ascii")}
    return listed
