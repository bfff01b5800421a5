"""What a segmentation leaves as plain JSON: result folders and results files alike are made of it."""

import importlib.metadata
import platform
from collections.abc import Mapping
from typing import Any

import numpy as np

import revseg
from revseg.types import Clip, Grounding, RewardBreakdown, Segmentation, Target, Turn
from revseg.video import Video


def reasoning_record(result: Segmentation, video: Video, scores: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Plain JSON: what was asked and answered, what came of it, and what it takes to do it again."""
    rollout, rewards = result.rollout, result.rewards
    return {
        "query": {"id": rollout.query.id, "text": rollout.query.text},
        "video": {"id": video.id, "size": list(video.size), "fps": video.fps, "frames": len(video)},
        "status": rollout.status,
        "error": rollout.error,
        "frame_ids": rollout.clip.frame_ids.tolist(),
        "rounds": [_turn(turn) for turn in rollout.turns],
        "due_rounds": rollout.due,
        "form": rollout.form,
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


def _turn(turn: Turn) -> dict[str, Any]:
    answer = turn.answer
    return {
        "round": turn.round,
        "prompt": turn.prompt.text,
        "shown": [_shown(clip) for clip in turn.prompt.clips],
        "reply": turn.reply.whole,
        "finish_reason": turn.reply.finish_reason,
        "answer": {
            "targets": [_target(target) for target in answer.targets],
            "windows": [list(window) for window in answer.windows],
            "verdict": answer.verdict,
            "error": answer.error,
            "detail": answer.detail,
            "form": answer.form,
        },
    }


def _shown(clip: Clip) -> dict[str, Any]:
    return {"frame_ids": clip.frame_ids.tolist(), "size": list(clip.size)}


def _target(target: Target) -> dict[str, Any]:
    return {
        "frame_id": target.frame_id,
        "object_id": target.object_id,
        "description": target.description,
        **_places(target),
    }


def _grounding(grounding: Grounding) -> dict[str, Any]:
    return {
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
