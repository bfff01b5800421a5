"""From a record back to a segmentation."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from revseg.checked import out_of_range
from revseg.errors import InputError
from revseg.masks import MaskTrack
from revseg.rollout.converse import answering
from revseg.types import (
    Answer,
    Clip,
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
from revseg.untrusted.reading import checked

if TYPE_CHECKING:
    from revseg.untrusted.record_types import AnswerFields, ConversationFields, RewardFields, TargetFields, TurnFields


def rollout_from(record: Mapping[str, Any], where: str = "the record") -> Rollout:
    """The conversation of a record, for plans, parsers and rewards to judge again; `where` names the record in errors.

    Pixels are not recorded: each `Clip` has the right frame ids and size, but its frames are all zero (a read-only view
    of one number, which takes no memory until it is copied). Replies have as many tokens as were sampled, all 0, and no
    log-probs. A message's pictures come before its whole text. `status`, `error`, `form`, `targets` and `groundings`
    are computed again from the replies, never taken from the record.

    Older records lack some keys: the number of rounds that had to follow then comes from "due_rounds", the frame size
    from "video", and replies without a token count have no tokens. InputError, naming the key, for a damaged record,
    and for a target that is on none of the pictures shown.
    """
    from revseg.untrusted.record_types import ConversationFields

    found = checked(cast(Any, record), ConversationFields, where)
    size = found.get("frame_size") or (found.get("video") or {}).get("size")
    if size is None:
        raise InputError(f"{where}: expected the size of the frames, as frame_size or video.size; found neither")
    rollout = Rollout(_blank(found["frame_ids"], size), Query(found["query"]["id"], found["query"].get("text", "")))
    due = found.get("due_rounds")
    turns = []
    for number, turn in enumerate(found["rounds"]):
        follow = 0 if due is None else max(0, due - number - 1)
        turns.append(_turn_from(turn, rollout.clip, follow, f"{where}: rounds[{number}]"))
    return replace(rollout, turns=tuple(turns), failure=_ended(found))


def segmentation_from(record: Mapping[str, Any], masks: MaskTrack, where: str = "the record") -> Segmentation:
    """The inverse of `record_of`, with the masks, which are stored beside it. `rollout_from` says what is lost."""
    from revseg.untrusted.record_types import SegmentationFields

    found = checked(cast(Any, record), SegmentationFields, where)
    rewards = found.get("rewards")
    breakdown = None if rewards is None else _rewards_from(rewards, where)
    return Segmentation(rollout_from(record, where), masks, breakdown, found.get("spec") or {})


def _turn_from(turn: "TurnFields", clip: Clip, follow: int, where: str) -> Turn:
    clips = [_blank(shown["frame_ids"], shown["size"]) for shown in turn["shown"]]
    about = turn.get("about")
    message = Message(
        turn.get("role", "user"),
        (*clips, turn["prompt"]),
        tuple(turn.get("asks", ())),
        None if about is None else tuple(about),
    )
    same = answering(message)
    shown = _blank([i for one in same for i in one.frame_ids.tolist()], same[-1].size) if same else clip
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
        wrong = out_of_range(target, shown)
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


def _blank(frame_ids: Sequence[int], size: Sequence[int]) -> Clip:
    """A clip of zeros that takes no memory, whatever its length and size."""
    frames = np.broadcast_to(np.uint8(0), (len(frame_ids), *size, 3))
    return Clip(frames, np.array(frame_ids, np.int64))


def _ended(record: "ConversationFields") -> str | None:
    """What ended the conversation if it was not a reply. Older records have it in "error", which also names replies."""
    if "ended" in record:
        return record["ended"]
    error = record.get("error")
    return None if error is None or re.match(r"round \d+: ", error) else error


def _rewards_from(rewards: "RewardFields", where: str) -> RewardBreakdown:
    if set(rewards["values"]) - set(rewards["weights"]):
        raise InputError(f"{where}: rewards: expected a weight for each of {sorted(rewards['values'])!r:.200}")
    return RewardBreakdown(rewards["values"], rewards["weights"])
