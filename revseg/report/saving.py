"""A segmentation on disk: masks as PNG and COCO RLE, an overlay to watch, and the reasoning as JSON and HTML."""

import importlib.metadata
import json
import platform
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import revseg
from revseg import output
from revseg.draw import overlay, write_png, write_video
from revseg.masks import MaskTrack
from revseg.progress import tracked
from revseg.report.reasoning import reasoning_page
from revseg.types import Clip, Grounding, RewardBreakdown, Target, Turn
from revseg.video import Video

if TYPE_CHECKING:
    from revseg.pipeline import Segmentation

CHUNK = 16  # frames held at a time


def save(
    result: "Segmentation",
    folder: str | Path,
    video: Video,
    *,
    overwrite: bool = False,
    truth: MaskTrack | None = None,
    scores: Mapping[str, float] | None = None,
    copy: Mapping[str, Path] | None = None,
    progress: bool = False,
) -> Path:
    """Writes the folder and returns it; it appears whole or not at all. Frames are read `CHUNK` at a time.

    - `masks/00000.png` on: one 0/255 PNG per frame of the source; `masks/0/`, `masks/1/` ... with several objects;
    - `masks.json`: `MaskTrack.to_dict`, whose counts are COCO RLE as text;
    - `overlay.mp4`: H.264 that a browser plays;
    - `reasoning.json`: the conversation, the groundings, the rewards, and the specs that made it;
    - `reasoning.html`: the same to read.

    `copy` names files to put beside these, such as {"input.mp4": path}. Raises OutputError as
    `output.fresh_folder` does: a folder that holds anything is replaced with `overwrite` only, and only when revseg
    wrote all of it.
    """
    with output.fresh_folder(folder, overwrite=overwrite) as out:
        write_masks(result.masks, out / "masks", progress=progress)
        output.write_text(out / "masks.json", json.dumps(result.masks.to_dict()))
        frames = tracked(_painted(result, video), "writing the overlay", len(video), show=progress)
        write_video(out / "overlay.mp4", frames, fps=video.fps)
        record = reasoning_record(result, video, scores)
        output.write_text(out / "reasoning.json", json.dumps(record, indent=2, ensure_ascii=False, default=str))
        output.write_text(out / "reasoning.html", reasoning_page(result, video, truth=truth, scores=scores))
        for name, path in (copy or {}).items():
            shutil.copyfile(path, out / name)
    return Path(folder)


def write_masks(masks: MaskTrack, folder: Path, *, progress: bool = False) -> None:
    """One 0/255 PNG per frame, named by the frame's number in the source; a sub-folder per object when several."""
    for obj in range(masks.objects):
        place = folder / str(obj) if masks.objects > 1 else folder
        place.mkdir(parents=True, exist_ok=True)
        one = masks.select([obj])
        for frame_id in tracked(masks.frame_ids.tolist(), "writing the masks", len(masks), show=progress):
            write_png(place / f"{frame_id:05d}.png", one.dense([frame_id])[0, 0])


def reasoning_record(result: "Segmentation", video: Video, scores: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Plain JSON: what was asked and answered, what came of it, and what it takes to do it again."""
    rollout, rewards = result.rollout, result.rewards
    return {
        "query": {"id": rollout.query.id, "text": rollout.query.text},
        "video": {"id": video.id, "size": list(video.size), "fps": video.fps, "frames": len(video)},
        "status": result.status,
        "frame_ids": rollout.clip.frame_ids.tolist(),
        "rounds": [_turn(turn) for turn in rollout.turns],
        "planned_rounds": rollout.planned,
        "groundings": [_grounding(grounding) for grounding in rollout.groundings],
        "objects": result.masks.objects,
        "visible_frames": int(result.masks.visible.sum()),
        "rewards": None if rewards is None else _rewards(rewards),
        "scores": dict(scores or {}),
        "spec": dict(result.spec),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """The versions that decide a result, of what is installed."""
    found = {"revseg": revseg.__version__, "python": platform.python_version()}
    for name in ("numpy", "torch", "transformers", "opencv-contrib-python-headless", "decord2", "av", "rf-sam-2"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _painted(result: "Segmentation", video: Video) -> Iterator[np.ndarray]:
    for start in range(0, len(video), CHUNK):
        ids = np.arange(start, min(start + CHUNK, len(video)))
        yield from overlay(video.read(ids), result.masks.dense(ids))


def _turn(turn: Turn) -> dict[str, Any]:
    answer = turn.answer
    return {
        "prompt": turn.prompt.text,
        "shown": [_shown(clip) for clip in turn.prompt.clips],
        "reply": turn.reply.text,
        "answer": {
            "targets": [_target(target) for target in answer.targets],
            "error": answer.error,
            "detail": answer.detail,
            "form": answer.form,
        },
    }


def _shown(clip: Clip) -> dict[str, Any]:
    return {"frame_ids": clip.frame_ids.tolist(), "size": list(clip.size)}


def _target(target: Target) -> dict[str, Any]:
    return {"keyframe": target.keyframe, "description": target.description, **_places(target)}


def _grounding(grounding: Grounding) -> dict[str, Any]:
    return {
        "keyframe": grounding.keyframe,
        "frame_id": grounding.frame_id,
        "object_id": grounding.object_id,
        "description": grounding.description,
        **_places(grounding),
    }


def _places(item: Target | Grounding) -> dict[str, Any]:
    return {
        "boxes": np.round(item.boxes.astype(float), 6).tolist(),
        "points": np.round(item.points.astype(float), 6).tolist(),
        "point_labels": item.point_labels.tolist(),
    }


def _rewards(rewards: RewardBreakdown) -> dict[str, Any]:
    return {"values": dict(rewards.values), "weights": dict(rewards.weights), "total": rewards.total}
