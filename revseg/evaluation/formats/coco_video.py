"""COCO's JSON for videos, as YouTube-VIS has it: `videos`, `categories`, and one annotation per object."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from typing_extensions import TypedDict  # pydantic reads typing's own from Python 3.12 on only

from revseg.datasets.coco_masks import rle_track
from revseg.evaluation.formats.asked import Asked, Reader
from revseg.evaluation.formats.results_json import codes_of
from revseg.masks import MaskTrack
from revseg.untrusted.reading import checked, read_json


class _Video(TypedDict):
    id: int
    file_names: Annotated[list[str], Field(min_length=1)]


class _Annotation(TypedDict):
    video_id: int
    exp_id: str
    segmentations: list[Any]


class _File(TypedDict):
    videos: list[_Video]
    annotations: list[_Annotation]


@dataclass(frozen=True)
class CocoVideo:
    """An annotation per query and object. COCO knows no expressions: `exp_id` and `expression` are additional keys.

    A video's name is the folder of its `file_names`. A frame without a prediction is written as null, and null is read
    as an empty mask.
    """

    about: str
    suffix: str = ".json"

    def write(self, results: Iterable[tuple[Asked, MaskTrack]], out: Path) -> None:
        videos: dict[str, dict[str, Any]] = {}
        annotations: list[dict[str, Any]] = []
        for asked, track in results:
            video = videos.setdefault(asked.video, _video(len(videos) + 1, asked))
            boxes = [track.select([number]) for number in range(track.objects)]
            for one, codes in zip(boxes, codes_of(track, len(asked.frames)), strict=True):
                fields = {"id": len(annotations) + 1, "video_id": video["id"], "category_id": 1, "iscrowd": 0}
                sides = {name: video[name] for name in ("height", "width", "length")}
                words = {"exp_id": asked.expression, "expression": asked.text}
                annotations.append({**fields, **sides, **words, "segmentations": codes, **_shapes(one, len(codes))})
        categories = [{"id": 1, "name": "target", "supercategory": "object"}]
        content = {"videos": list(videos.values()), "categories": categories, "annotations": annotations}
        out.write_text(json.dumps(content), "utf-8")

    def open(self, path: Path) -> Reader:
        data = checked(read_json(path, "videos and annotations of COCO"), _File, str(path))
        names = {video["id"]: video["file_names"][0].rpartition("/")[0] for video in data["videos"]}
        rows: dict[tuple[str, str], list[tuple[str, Any]]] = {}
        for number, annotation in enumerate(data["annotations"]):
            place = (names.get(annotation["video_id"], ""), annotation["exp_id"])
            rows.setdefault(place, []).append((f"{path}: annotations[{number}]", annotation["segmentations"]))

        def read(asked: Asked) -> MaskTrack | None:
            found = next((rows[place] for place in asked.places if place in rows), None)
            return None if found is None else rle_track(found, len(asked.frames), asked.size)

        return read


def _video(id: int, asked: Asked) -> dict[str, Any]:
    height, width = asked.size
    files = [f"{asked.video}/{frame}.jpg" for frame in asked.frames]
    return {"id": id, "width": width, "height": height, "length": len(files), "file_names": files}


def _shapes(one: MaskTrack, length: int) -> dict[str, list[Any]]:
    """Areas in pixels and boxes as x, y, width, height; None where there is no mask."""
    areas: list[Any] = [None] * length
    boxes: list[Any] = [None] * length
    pixels = np.round(one.pixel_boxes).tolist()
    for frame, area, (left, top, right, bottom) in zip(one.frame_ids.tolist(), one.areas.tolist(), pixels, strict=True):
        if area:
            areas[frame], boxes[frame] = int(area), [left, top, right - left, bottom - top]
    return {"areas": areas, "bboxes": boxes}
