"""A segmentation on disk: masks as PNG and COCO RLE, an overlay video, and the reasoning as JSON and HTML."""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from revseg import output
from revseg.drawing import DIM, overlay
from revseg.masks import MaskTrack
from revseg.progress import tracked
from revseg.report.pictures import scene_colours
from revseg.report.reasoning import reasoning_page
from revseg.serialise import record_of
from revseg.types import Segmentation
from revseg.video import Video
from revseg.video.writing import RATES, write_png, write_video

CHUNK = 16  # frames in memory at a time


def save(
    result: Segmentation,
    folder: str | Path,
    video: Video,
    *,
    overwrite: bool = False,
    truth: MaskTrack | None = None,
    scores: Mapping[str, float] | None = None,
    copy: Mapping[str, Path] | None = None,
    progress: bool = False,
) -> Path:
    """Writes the folder, whole or not at all, and returns it. Frames are read `CHUNK` at a time.

    - `masks/00000.png`, ...: one 0/255 PNG per frame of the source; in `masks/0/`, `masks/1/`, ... for several objects;
    - `masks.json`: `MaskTrack.to_dict`, whose counts are COCO RLE as text;
    - `context.json`: the same of the objects named as context, where there are any;
    - `overlay.mp4`: H.264 that a browser plays, at the source's rate or the nearest that can be written;
    - `reasoning.json`: the conversation, the groundings, the rewards, and the specs that made it;
    - `reasoning.html`: the same as a page.

    `copy` adds files, such as {"input.mp4": path}. Raises OutputError as `output.fresh_folder` does: a folder that is
    not empty is replaced only with `overwrite`, and only when revseg wrote everything in it.
    """
    with output.fresh_folder(folder, overwrite=overwrite) as out:
        write_masks(result.masks, out / "masks", progress=progress)
        output.write_text(out / "masks.json", json.dumps(result.masks.to_dict()))
        if result.context is not None:
            output.write_text(out / "context.json", json.dumps(result.context.to_dict()))
        frames = tracked(_painted(result, video), "writing the overlay", len(video), show=progress)
        write_video(out / "overlay.mp4", frames, fps=min(max(video.fps, RATES[0]), RATES[1]))
        record = record_of(result, video, scores)
        output.write_text(out / "reasoning.json", json.dumps(record, indent=2, ensure_ascii=False, default=str))
        output.write_text(out / "reasoning.html", reasoning_page(result, video, truth=truth, scores=scores))
        for name, path in (copy or {}).items():
            shutil.copyfile(path, out / name)
    return Path(folder)


def write_masks(masks: MaskTrack, folder: Path, *, progress: bool = False) -> None:
    """One 0/255 PNG per frame, named by the frame's number in the source; a sub-folder per object if several."""
    for obj in range(masks.objects):
        place = folder / str(obj) if masks.objects > 1 else folder
        place.mkdir(parents=True, exist_ok=True)
        one = masks.select([obj])
        for frame_id in tracked(masks.frame_ids.tolist(), "writing the masks", len(masks), show=progress):
            write_png(place / f"{frame_id:05d}.png", one.dense([frame_id])[0, 0])


def _painted(result: Segmentation, video: Video) -> Iterator[np.ndarray]:
    """The frames of the video with masks drawn; what is outside the masks is dimmed, unless all masks are empty."""
    options: dict[str, Any] = {
        "colours": scene_colours(result, video),
        "dim": DIM if result.masks.visible.any() else 0.0,
    }
    for start in range(0, len(video), CHUNK):
        ids = np.arange(start, min(start + CHUNK, len(video)))
        context = None if result.context is None else result.context.dense(ids)
        yield from overlay(video.read(ids), result.masks.dense(ids), context=context, **options)
