"""Segmentations as plain JSON, out and back: result folders and results files alike are made of it.

`record_of` writes everything but pixels and the sampled tokens; `rollout_from` reads it back. Coordinates are written
with as many digits as it takes to read the same float32 again.
"""

import importlib.metadata
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from revseg import checked
from revseg.errors import InputError
from revseg.masks import MaskTrack
from revseg.rollout.converse import answering
from revseg.types import (
    Answer,
    Clip,
    Grounding,
    Message,
    Query,
    Reply,
    RewardBreakdown,
    Rollout,
    Segmentation,
    Target,
    Turn,
    no_boxes,
)
from revseg.untrusted.reading import checked as checked_fields
from revseg.version import __version__
from revseg.video import Video

if TYPE_CHECKING:
    from revseg.untrusted.record_types import AnswerFields, ConversationFields, RewardFields, TargetFields, TurnFields


def record_of(result: Segmentation, video: Video, scores: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Plain JSON: what was asked and answered, what came of it, and what it takes to do it again.

    `scores` are figures to keep with it, such as J&F by name. `rollout_from` and `segmentation_from` read it back.
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
    """The part of a record that is of the conversation alone: what was said, and what the library makes of it."""
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
    """Rewards as a record holds them."""
    return {"values": dict(rewards.values), "weights": dict(rewards.weights), "total": rewards.total}


def rollout_from(record: Mapping[str, Any], where: str = "the record") -> Rollout:
    """The conversation of a record, so that plans, parsers and rewards judge it as they did; `where` is for errors.

    Pixels are not recorded: every `Clip` has the right frame ids and size, and frames that are all zero and take no
    memory (a read-only view of one number: a copy would take it). Replies hold as many tokens as
    were sampled, all of number 0, without log-probs. A message's pictures come before its whole text. `status`,
    `error`, `form`, `targets` and `groundings` are computed from what was said, never taken from the record.

    Records of before these were kept still read: how many rounds had to follow comes from "due_rounds", the size of
    the frames from "video", and replies without a count of tokens have none. InputError, naming the key, for a record
    that is damaged, or where a target is none of the pictures shown.
    """
    from revseg.untrusted.record_types import ConversationFields

    found = checked_fields(cast(Any, record), ConversationFields, where)
    size = found.get("frame_size") or (found.get("video") or {}).get("size")
    if size is None:
        raise InputError(f"{where}: expected the size of the frames, as frame_size or video.size; found neither")
    rollout = Rollout(_unheld(found["frame_ids"], size), Query(found["query"]["id"], found["query"].get("text", "")))
    due = found.get("due_rounds")
    turns = []
    for number, turn in enumerate(found["rounds"]):
        follow = 0 if due is None else max(0, due - number - 1)
        turns.append(_turn_from(turn, rollout.clip, follow, f"{where}: rounds[{number}]"))
    return replace(rollout, turns=tuple(turns), failure=_ended(found))


def segmentation_from(record: Mapping[str, Any], masks: MaskTrack, where: str = "the record") -> Segmentation:
    """The inverse of `record_of`, with the masks that lie beside it; see `rollout_from` for what comes back."""
    from revseg.untrusted.record_types import SegmentationFields

    found = checked_fields(cast(Any, record), SegmentationFields, where)
    rewards = found.get("rewards")
    breakdown = None if rewards is None else _rewards_from(rewards, where)
    return Segmentation(rollout_from(record, where), masks, breakdown, found.get("spec") or {})


def versions() -> dict[str, str]:
    """The versions that decide a result, of what is installed."""
    found = {"revseg": __version__, "python": platform.python_version()}
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
    """The shortest decimals that are these float32 again: 0.1, where Python's own float would be 0.10000000149."""
    return [[float(str(number)) for number in row] for row in rows.astype(np.float32)]


def _turn_from(turn: "TurnFields", clip: Clip, follow: int, where: str) -> Turn:
    clips = [_unheld(shown["frame_ids"], shown["size"]) for shown in turn["shown"]]
    about = turn.get("about")
    message = Message(
        turn.get("role", "user"),
        (*clips, turn["prompt"]),
        tuple(turn.get("asks", ())),
        None if about is None else tuple(about),
    )
    same = answering(message)
    shown = _unheld([i for one in same for i in one.frame_ids.tolist()], same[-1].size) if same else clip
    answer = _answer_from(turn["answer"], shown, where)
    return Turn(message, _reply_from(turn, where), answer, shown, turn.get("round", ""), turn.get("then", follow))


def _reply_from(turn: "TurnFields", where: str) -> Reply:
    whole, opened = turn["reply"], turn.get("opened", "")
    if not whole.startswith(opened):
        raise InputError(f"{where}.opened: expected the start of the reply, got {opened!r:.80}")
    tokens = np.broadcast_to(np.int64(0), (turn.get("tokens", 0),))
    return Reply(whole[len(opened) :], tokens, finish_reason=turn.get("finish_reason", ""), opened=opened)


def _answer_from(answer: "AnswerFields", shown: Clip, where: str) -> Answer:
    targets = tuple(_target_from(target) for target in answer["targets"])
    for number, target in enumerate(targets):
        wrong = checked.out_of_range(target, shown)
        if wrong:
            raise InputError(f"{where}.answer.targets[{number}]: {wrong} is out of range for {shown!r}")
    windows = tuple((first, end) for first, end in answer.get("windows", ()))
    return Answer(targets, answer["error"], answer["form"], answer["detail"], windows, answer.get("verdict"))


def _target_from(target: "TargetFields") -> Target:
    points = np.array(target["points"], np.float32).reshape(-1, 2)
    labels = target.get("point_labels", [True] * len(points))
    return Target(
        target["frame_id"],
        target["description"],
        np.array(target["boxes"], np.float32) if target["boxes"] else no_boxes(),
        points,
        np.array(labels, bool),
        target.get("object_id"),
        target.get("role", "target"),
    )


def _unheld(frame_ids: Sequence[int], size: Sequence[int]) -> Clip:
    """A clip whose frames are not held: zeros that take no memory, whatever their number and size."""
    frames = np.broadcast_to(np.uint8(0), (len(frame_ids), *size, 3))
    return Clip(frames, np.array(frame_ids, np.int64))


def _ended(record: "ConversationFields") -> str | None:
    """What ended the conversation when it was no reply; older records have it only where no reply failed."""
    if "ended" in record:
        return record["ended"]
    error = record.get("error")
    return None if error is None or re.match(r"round \d+: ", error) else error


def _rewards_from(rewards: "RewardFields", where: str) -> RewardBreakdown:
    if set(rewards["values"]) - set(rewards["weights"]):
        raise InputError(f"{where}: rewards: expected a weight for each of {sorted(rewards['values'])!r:.200}")
    return RewardBreakdown(rewards["values"], rewards["weights"])
