"""What parts give back, checked where it is taken: one place that names the part, what was expected and what came.

Parts are other people's code as much as ours, and whatever they give would otherwise fail far from where it came from,
or not at all. Each check is a few comparisons, so that all of them always run.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from revseg.errors import InputError, PartError
from revseg.masks import MaskTrack
from revseg.masks.rle import MAX_FRAMES
from revseg.registry import origin
from revseg.types import MAX_OBJECT_ID, ROLES, Answer, Clip, Message, Query, Reply, Rollout, Round, Sample, Target
from revseg.video import Video

if TYPE_CHECKING:
    import torch


def replies(policy: Any, found: Any, count: int) -> list[Reply]:
    """What `policy.reply` gave for `count` rollouts."""
    part = f"policy {origin(policy)}"
    if not isinstance(found, list | tuple):
        raise _wrong(part, f"{count} replies in a list", found)
    if len(found) != count:
        raise PartError(f"{part}: expected {count} replies, one a rollout; got {len(found)}")
    for reply in found:
        if not isinstance(reply, Reply):
            raise _wrong(part, "a Reply for each rollout", reply)
        if not isinstance(reply.text, str):
            raise _wrong(part, "the text of a Reply as str", reply.text)
        if not isinstance(reply.finish_reason, str) or not isinstance(reply.opened, str):
            raise _wrong(part, "finish_reason and opened of a Reply as str", (reply.finish_reason, reply.opened))
        ids, logprobs = reply.token_ids, reply.logprobs
        if not _array(ids, "iu", 1) or not _array(logprobs, "f", 1):
            raise _wrong(part, "token ids int64[n] and log-probs float32[n]", (ids, logprobs))
        if len(ids) != len(logprobs) or np.isnan(logprobs).any():
            raise PartError(f"{part}: expected a log-prob a token, got {len(ids)} tokens with {_told(logprobs)}")
    return list(found)


def concurrency(policy: Any) -> int:
    """How many conversations a served policy says that it takes at a time."""
    found = policy.concurrency
    if type(found) is not int or found < 1:
        raise PartError(
            f"policy {origin(policy)}: expected concurrency as a whole number of 1 or more, got {found!r:.80}"
        )
    return found


def message(prompt: Any, found: Any, query: Query) -> Message:
    """What a prompt asks next."""
    part = f"prompt {origin(prompt)} on query {query.id!r}"
    if not isinstance(found, Message):
        raise _wrong(part, "a Message", found)
    parts = found.parts
    if not isinstance(found.role, str) or not isinstance(parts, list | tuple) or not parts:
        raise _wrong(part, "a Message of a role and a tuple of texts and clips", (found.role, parts))
    if not isinstance(found.asks, list | tuple) or not all(isinstance(word, str) for word in found.asks):
        raise _wrong(part, "what a Message asks as words", found.asks)
    for each in parts:
        if isinstance(each, Clip):
            _frames(part, each)
        elif not isinstance(each, str):
            raise _wrong(part, "texts and clips in a Message", each)
    return found


def round_(plan: Any, found: Any) -> Round:
    """What a plan asks next."""
    part = f"plan {origin(plan)}"
    if not isinstance(found, Round):
        raise _wrong(part, "a Round, or None when the conversation is over", found)
    about = found.about
    if about is not None and not (isinstance(about, list | tuple) and all(_is_count(number) for number in about)):
        raise _wrong(part, "about of a Round as numbers of targets from 0, or None", about)
    if not isinstance(found.name, str) or not _is_count(found.then):
        raise _wrong(part, "the name of a Round as str, and then as a whole number from 0", (found.name, found.then))
    return found


def answer(parser: Any, found: Any, shown: Clip) -> Answer:
    """What a parser read in a reply about these pictures."""
    part = f"parser {origin(parser)}"
    if not isinstance(found, Answer):
        raise _wrong(part, "an Answer", found)
    if not isinstance(found.error, str | None) or not isinstance(found.detail, str):
        raise _wrong(part, "error and detail of an Answer as words", (found.error, found.detail))
    if not share(found.form):
        raise _wrong(part, "form in [0, 1]", found.form)
    if not isinstance(found.targets, list | tuple) or not all(isinstance(target, Target) for target in found.targets):
        raise _wrong(part, "a tuple of Targets", found.targets)
    if not isinstance(found.verdict, bool | None):
        raise _wrong(part, "a verdict as true, false or None", found.verdict)
    if not all(_is_window(window) for window in found.windows):
        raise _wrong(part, "windows as pairs of source frames (first, end)", found.windows)
    for target in found.targets:
        wrong = out_of_range(target, shown)
        if wrong:
            raise PartError(f"{part} made {target!r}, of which {wrong} is out of range for {shown!r}")
    return found


def clip(sampler: Any, found: Any, video: Video, most: int) -> Clip:
    """What a sampler chose of a video: at most `most` of its frames."""
    part = f"sampler {origin(sampler)} on {video.id!r}"
    if not isinstance(found, Clip):
        raise _wrong(part, "a Clip", found)
    _frames(part, found)
    ids = found.frame_ids
    if not 1 <= len(ids) <= most:
        raise PartError(f"{part}: expected 1 to {most} frames, got {len(ids)}")
    if ids.min() < 0 or ids.max() >= len(video):
        raise PartError(f"{part}: expected frame ids in 0..{len(video) - 1}, got {found!r}")
    return found


def masks(tracker: Any, found: Any, video: Video, objects: int | None = None) -> MaskTrack:
    """What a tracker made: a mask of the video's size for every frame, in order; of so many objects where it counts."""
    part = f"tracker {origin(tracker)} on {video.id!r}"
    if not isinstance(found, MaskTrack):
        raise _wrong(part, "a MaskTrack", found)
    if tuple(found.size) != tuple(video.size):
        raise PartError(f"{part}: expected masks of {tuple(video.size)}, got {tuple(found.size)}")
    if len(found) != len(video) or not np.array_equal(found.frame_ids, np.arange(len(video))):
        raise PartError(f"{part}: expected the frame ids 0..{len(video) - 1} in order, got {_told(found.frame_ids)}")
    if objects is not None and found.objects != objects:
        raise PartError(f"{part}: expected {objects} objects, got {found.objects}")
    if not ((found.scores >= 0) & (found.scores <= 1)).all():  # False for NaN too
        raise PartError(f"{part}: expected scores in [0, 1], got {_told(found.scores)}")
    return found


def number(reward: str, value: Any) -> float:
    """What a reward, as its error is to name it, gave."""
    if not share(value):
        named = "" if isinstance(value, int | float) else f"{type(value).__name__} "
        raise PartError(f"{reward}: expected a number in [0, 1], got {named}{value!r:.200}")
    return float(value)


def share(value: Any) -> bool:
    """True for a number in [0, 1]."""
    return isinstance(value, bool | int | float | np.bool_ | np.integer | np.floating) and bool(0 <= value <= 1)


def sample(dataset: Any, found: Any, index: int) -> Sample:
    """Item `index` of a dataset. Whether its truth is of its video is for `truth`."""
    part = f"dataset {origin(dataset)}, sample {index}"
    if not isinstance(found, Sample):
        raise _wrong(part, "a Sample", found)
    if not isinstance(found.video, Video) or not len(found.video):
        raise _wrong(part, "a Video of one frame or more", found.video)
    query = found.query
    if not isinstance(query, Query) or not isinstance(query.id, str) or not isinstance(query.text, str):
        raise _wrong(part, "a Query of texts", query)
    if not isinstance(found.truth, MaskTrack | None):
        raise _wrong(part, "truth as a MaskTrack or None", found.truth)
    if not isinstance(found.meta, Mapping):
        raise _wrong(part, "meta as a mapping", found.meta)
    return found


def truth(track: Any, video: Video, query: Query) -> None:
    """InputError when a truth is not of this video: masks of another size, or of frames that it does not have."""
    if not isinstance(track, MaskTrack | None):
        raise InputError(f"expected truth as a MaskTrack, got {_told(track)}; MaskTrack.from_dense makes one of arrays")
    for _, what in mismatches(track, video):
        raise InputError(f"query {query.id!r}, video {video.id!r}: {what}; `revseg data check` looks through a dataset")


def mismatches(track: MaskTrack | None, video: Video) -> Iterator[tuple[str, str]]:
    """Where a truth and its video do not go together: a stable word (size, length, frames) and what is wrong."""
    if track is None:
        return
    if tuple(track.size) != tuple(video.size):
        (h, w), (height, width) = track.size, video.size
        yield "size", f"expected masks of {width}x{height} as the frames, got {w}x{h}"
    ids = track.frame_ids
    if len(ids) and (ids.max() >= len(video) or ids.min() < 0):
        yield "length", f"a mask for frame {int(ids.max() if ids.min() >= 0 else ids.min())} of {len(video)}"
    if (np.diff(ids) <= 0).any():
        yield "frames", "the frames of the masks are not in order, or one comes twice"


def logprobs(policy: Any, found: Any, rollouts: Sequence[Rollout]) -> "list[torch.Tensor]":
    """What `policy.logprobs` gave: float[n] per rollout, a number a sampled token."""
    import torch

    part = f"policy {origin(policy)}"
    lengths = [sum(len(turn.reply.token_ids) for turn in rollout.turns) for rollout in rollouts]
    if not isinstance(found, list | tuple) or not all(isinstance(row, torch.Tensor) for row in found):
        raise _wrong(part, "the log-probs as a list of tensors, one a rollout", found)
    shapes = [tuple(row.shape) for row in found]
    if shapes != [(length,) for length in lengths]:
        raise PartError(f"{part}: expected log-probs for {lengths} sampled tokens, got the shapes {shapes}")
    return list(found)


def advantages(objective: Any, found: Any, shape: tuple[int, ...]) -> "torch.Tensor":
    """What an objective made of rewards: a number for each rollout, [groups n]."""
    import torch

    part = f"objective {origin(objective)}"
    if not isinstance(found, torch.Tensor) or tuple(found.shape) != shape:
        raise _wrong(part, f"advantages of shape {shape}", found)
    return found


def loss(objective: Any, found: Any) -> "tuple[torch.Tensor, dict[str, float]]":
    """What an objective is to be made small, a scalar, and figures to log. NaN is for the step to leave out."""
    import torch

    part, pair = f"objective {origin(objective)}", isinstance(found, list | tuple) and len(found) == 2
    if not pair or not isinstance(found[0], torch.Tensor) or found[0].ndim or not isinstance(found[1], Mapping):
        raise _wrong(part, "a scalar loss and figures by name", found)
    if not all(isinstance(value, int | float) for value in found[1].values()):
        raise _wrong(part, "figures to log as numbers", found[1])
    return found[0], dict(found[1])


def _frames(part: str, found: Clip) -> None:
    frames, ids = found.frames, found.frame_ids
    if not _array(frames, "u", 4) or frames.dtype != np.uint8 or frames.shape[-1] != 3 or 0 in frames.shape[1:3]:
        raise _wrong(part, "frames uint8[t h w 3]", frames)
    if not _array(ids, "i", 1) or len(ids) != len(frames):
        raise _wrong(part, f"frame ids int64[{len(frames)}], one a frame", ids)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= 10**9


def _is_window(window: Any) -> bool:
    pair = isinstance(window, list | tuple) and len(window) == 2 and all(type(end) is int for end in window)
    return pair and 0 <= window[0] < window[1] < MAX_FRAMES


def out_of_range(target: Target, shown: Clip) -> str:
    """The field of a target that is none, "" for a good one."""
    boxes, points, labels = target.boxes, target.points, target.point_labels
    if target.frame_id is not None and not (type(target.frame_id) is int and target.frame_id in shown.frame_ids):
        return f"frame_id {target.frame_id!r}"
    number = target.object_id
    if number is not None and not (type(number) is int and abs(number) <= MAX_OBJECT_ID):
        return f"object_id {number!r:.80}"
    if target.role not in ROLES:
        return f"role {target.role!r:.80}"
    if not isinstance(target.description, str):
        return f"description {_told(target.description)}"
    if not _array(boxes, "f", 2) or boxes.dtype != np.float32 or boxes.shape[1] != 4:
        return f"boxes {_told(boxes)}"
    if not (((boxes >= 0) & (boxes <= 1)).all() and (boxes[:, :2] < boxes[:, 2:]).all()):
        return f"boxes {boxes.tolist()!r:.80}"
    if not _array(points, "f", 2) or points.dtype != np.float32 or points.shape[1] != 2:
        return f"points {_told(points)}"
    if not _array(labels, "b", 1) or len(labels) != len(points) or not ((points >= 0) & (points <= 1)).all():
        return f"points {points.tolist()!r:.80} with labels {_told(labels)}"
    return ""


def _array(value: Any, kinds: str, axes: int) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in kinds and value.ndim == axes


def _wrong(part: str, expected: str, came: Any) -> PartError:
    return PartError(f"{part}: expected {expected}, got {_told(came)}")


def _told(value: Any) -> str:
    """What came, in a few words: an array by its type and shape, anything else as it prints."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        nan = value.dtype.kind == "f" and np.isnan(value).any() if isinstance(value, np.ndarray) else False
        return f"{value.dtype}{list(value.shape)}{' with NaN' if nan else ''}"
    if isinstance(value, list | tuple) and len(value) <= 4:
        return f"({', '.join(_told(item) for item in value)})"
    return "None" if value is None else f"{type(value).__name__} {value!r:.80}"
