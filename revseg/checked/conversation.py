"""What policies, plans, prompts and parsers return."""

from typing import Any

import numpy as np

from revseg.checked.describe import check_frames, describe, is_array, wrong
from revseg.checked.numbers import share
from revseg.errors import PartError
from revseg.masks.rle import MAX_FRAMES
from revseg.registry import origin
from revseg.types import MAX_OBJECT_ID, ROLES, Answer, Clip, Message, Query, Reply, Round, Target


def replies(policy: Any, found: Any, count: int) -> list[Reply]:
    """What `policy.reply` returned for `count` rollouts."""
    part = f"policy {origin(policy)}"
    if not isinstance(found, list | tuple):
        raise wrong(part, f"{count} replies in a list", found)
    if len(found) != count:
        raise PartError(f"{part}: expected {count} replies, one per rollout; got {len(found)}")
    for reply in found:
        if not isinstance(reply, Reply):
            raise wrong(part, "a Reply for each rollout", reply)
        if not isinstance(reply.text, str):
            raise wrong(part, "the text of a Reply as str", reply.text)
        if not isinstance(reply.finish_reason, str) or not isinstance(reply.opened, str):
            raise wrong(part, "finish_reason and opened of a Reply as str", (reply.finish_reason, reply.opened))
        ids, logprobs = reply.token_ids, reply.logprobs
        if not is_array(ids, "iu", 1) or not is_array(logprobs, "f", 1):
            raise wrong(part, "token ids int64[n] and log-probs float32[n]", (ids, logprobs))
        if len(ids) != len(logprobs) or np.isnan(logprobs).any():
            raise PartError(f"{part}: expected one log-prob per token, got {len(ids)} tokens with {describe(logprobs)}")
    return list(found)


def concurrency(policy: Any) -> int:
    """How many requests a served policy takes at a time."""
    found = policy.concurrency
    if type(found) is not int or found < 1:
        raise PartError(
            f"policy {origin(policy)}: expected concurrency as a whole number of 1 or more, got {found!r:.80}"
        )
    return found


def message(prompt: Any, found: Any, query: Query) -> Message:
    """The message that a prompt returned."""
    part = f"prompt {origin(prompt)} on query {query.id!r}"
    if not isinstance(found, Message):
        raise wrong(part, "a Message", found)
    parts = found.parts
    if not isinstance(found.role, str) or not isinstance(parts, list | tuple) or not parts:
        raise wrong(part, "a Message of a role and a tuple of texts and clips", (found.role, parts))
    if not isinstance(found.asks, list | tuple) or not all(isinstance(word, str) for word in found.asks):
        raise wrong(part, "what a Message asks as words", found.asks)
    for each in parts:
        if isinstance(each, Clip):
            check_frames(part, each)
        elif not isinstance(each, str):
            raise wrong(part, "texts and clips in a Message", each)
    return found


def round_(plan: Any, found: Any) -> Round:
    """The round that a plan returned; None, the end, is for the caller."""
    part = f"plan {origin(plan)}"
    if not isinstance(found, Round):
        raise wrong(part, "a Round, or None when the conversation is over", found)
    about = found.about
    if about is not None and not (isinstance(about, list | tuple) and all(_is_count(number) for number in about)):
        raise wrong(part, "about of a Round as numbers of targets from 0, or None", about)
    if not isinstance(found.name, str) or not _is_count(found.then):
        raise wrong(part, "the name of a Round as str, and then as a whole number from 0", (found.name, found.then))
    return found


def answer(parser: Any, found: Any, shown: Clip) -> Answer:
    """The answer that a parser read in a reply about the pictures `shown`."""
    part = f"parser {origin(parser)}"
    if not isinstance(found, Answer):
        raise wrong(part, "an Answer", found)
    if not isinstance(found.error, str | None) or not isinstance(found.detail, str):
        raise wrong(part, "error and detail of an Answer as words", (found.error, found.detail))
    if not share(found.form):
        raise wrong(part, "form in [0, 1]", found.form)
    if not isinstance(found.targets, list | tuple) or not all(isinstance(target, Target) for target in found.targets):
        raise wrong(part, "a tuple of Targets", found.targets)
    if not isinstance(found.verdict, bool | None):
        raise wrong(part, "a verdict as true, false or None", found.verdict)
    if not all(_is_window(window) for window in found.windows):
        raise wrong(part, "windows as pairs of source frames (first, end)", found.windows)
    for target in found.targets:
        field = out_of_range(target, shown)
        if field:
            raise PartError(f"{part} made {target!r}, of which {field} is out of range for {shown!r}")
    return found


def out_of_range(target: Target, shown: Clip) -> str:
    """The field of a target that is invalid, with its value; "" when all are valid."""
    boxes, points, labels = target.boxes, target.points, target.point_labels
    if target.frame_id is not None and not (type(target.frame_id) is int and target.frame_id in shown.frame_ids):
        return f"frame_id {target.frame_id!r}"
    number = target.object_id
    if number is not None and not (type(number) is int and abs(number) <= MAX_OBJECT_ID):
        return f"object_id {number!r:.80}"
    if target.role not in ROLES:
        return f"role {target.role!r:.80}"
    if not isinstance(target.description, str):
        return f"description {describe(target.description)}"
    if not is_array(boxes, "f", 2) or boxes.dtype != np.float32 or boxes.shape[1] != 4:
        return f"boxes {describe(boxes)}"
    if not (((boxes >= 0) & (boxes <= 1)).all() and (boxes[:, :2] < boxes[:, 2:]).all()):
        return f"boxes {boxes.tolist()!r:.80}"
    if not is_array(points, "f", 2) or points.dtype != np.float32 or points.shape[1] != 2:
        return f"points {describe(points)}"
    if not is_array(labels, "b", 1) or len(labels) != len(points) or not ((points >= 0) & (points <= 1)).all():
        return f"points {points.tolist()!r:.80} with labels {describe(labels)}"
    return ""


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= 10**9


def _is_window(window: Any) -> bool:
    pair = isinstance(window, list | tuple) and len(window) == 2 and all(type(end) is int for end in window)
    return pair and 0 <= window[0] < window[1] < MAX_FRAMES
