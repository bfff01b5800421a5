"""From a segmentation to plain JSON."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from revseg.serialise.versions import versions
from revseg.types import Clip, Grounding, RewardBreakdown, Rollout, Segmentation, Target, Turn
from revseg.video import Video


def record_of(result: Segmentation, video: Video, scores: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Plain JSON: the conversation, its outcome, and the spec and versions needed to repeat it.

    `scores` are figures to store with it, such as J&F, by name. `rollout_from` and `segmentation_from` read it back.
    """
    rollout, rewards = result.rollout, result.rewards
    return {
        "query": {"id": rollout.query.id, "text": rollout.query.text},
        "video": {"id": video.id, "size": list(video.size), "fps": video.fps, "frames": len(video)},
        **conversation_of(rollout),
        "objects": result.masks.objects,
        "visible_frames": int(result.masks.visible.sum()),
        "rewards": None if rewards is None else rewards_of(rewards),
        "scores": dict(scores or {}),
        "spec": dict(result.spec),
        "versions": versions(),
    }


def conversation_of(rollout: Rollout) -> dict[str, Any]:
    """The part of a record about the conversation: prompts, replies, and what the library derived from them."""
    return {
        "status": rollout.status,
        "error": rollout.error,
        "ended": rollout.failure,
        "frame_ids": rollout.clip.frame_ids.tolist(),
        "frame_size": list(rollout.clip.size),
        "rounds": [_turn(turn) for turn in rollout.turns],
        "due_rounds": rollout.due,
        "form": float(rollout.form),
        "groundings": [_grounding(grounding) for grounding in rollout.groundings],
        **({"context": [_grounding(grounding) for grounding in rollout.context]} if rollout.context else {}),
    }


def rewards_of(rewards: RewardBreakdown) -> dict[str, Any]:
    """Rewards in the form of a record."""
    return {"values": dict(rewards.values), "weights": dict(rewards.weights), "total": rewards.total}


def _turn(turn: Turn) -> dict[str, Any]:
    answer = turn.answer
    return {
        "round": turn.round,
        "role": turn.prompt.role,
        "prompt": turn.prompt.text,
        "asks": list(turn.prompt.asks),
        "about": None if turn.prompt.about is None else list(turn.prompt.about),
        "shown": [_shown(clip) for clip in turn.prompt.clips],
        "reply": turn.reply.whole,
        "opened": turn.reply.opened,
        "tokens": len(turn.reply.token_ids),
        "finish_reason": turn.reply.finish_reason,
        "then": turn.then,
        "answer": {
            "targets": [_target(target) for target in answer.targets],
            "windows": [list(window) for window in answer.windows],
            "verdict": answer.verdict,
            "error": answer.error,
            "detail": answer.detail,
            "form": float(answer.form),
        },
    }


def _shown(clip: Clip) -> dict[str, Any]:
    return {"frame_ids": clip.frame_ids.tolist(), "size": list(clip.size)}


def _target(target: Target) -> dict[str, Any]:
    return {
        "frame_id": target.frame_id,
        "object_id": target.object_id,
        "description": target.description,
        **({} if target.role == "target" else {"role": target.role}),
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
        "boxes": _exact(item.boxes),
        "points": _exact(item.points),
        "point_labels": item.point_labels.tolist(),
    }


def _exact(rows: np.ndarray) -> list[list[float]]:
    """The shortest decimals that give the same float32 again: 0.1, where a float64 would print 0.10000000149."""
    return [[float(str(number)) for number in row] for row in rows.astype(np.float32)]
