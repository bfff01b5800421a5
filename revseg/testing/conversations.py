"""Rollouts as strategies: unfinished, failed, absent and complete ones, with a truth to judge them by."""

import numpy as np
from hypothesis import strategies as st

from revseg.grounding.boxes import areas
from revseg.grounding.parsers import box_json, keyframe_and_box_json, keyframe_json
from revseg.grounding.render import render
from revseg.masks import MaskTrack
from revseg.testing.strategies import Draw, clips, queries, tracks
from revseg.testing.texts import replies
from revseg.types import Answer, Clip, Message, Reply, Rollout, Target, Turn

_PLANS = {1: [("keyframe_and_box_json", keyframe_and_box_json)]}
_PLANS[2] = [("keyframe_json", keyframe_json), ("box_json", box_json)]
_SHOWN = 84  # pixels a side of the pictures of round 2: another size than the clip's


@st.composite
def rollouts(draw: Draw, clip: Clip | None = None) -> Rollout:
    """Rollouts of one or two planned rounds, at any stage, with good replies, near misses and noise."""
    seen = draw(clips()) if clip is None else clip
    planned = draw(st.sampled_from([2, 2, 1]))
    rollout = Rollout(seen, draw(queries()), planned)
    for kind, _ in _PLANS[planned][: draw(st.sampled_from([2, 2, 2, 1, 0]))]:
        if rollout.done:
            break
        rollout = extend(rollout, draw(replies(_shown(seen, kind), kind)))
    return rollout


@st.composite
def judged(draw: Draw) -> tuple[Rollout, MaskTrack]:
    """A rollout and a truth of its clip, aligned: index k of the truth is frame k of the clip."""
    rollout = draw(rollouts())
    return rollout, draw(tracks(rollout.clip.frame_ids, rollout.clip.size))


@st.composite
def perfect(draw: Draw) -> tuple[Rollout, MaskTrack]:
    """A truth of one object and the rollout that names the frame where its box is largest, and that box."""
    clip = draw(clips())
    truth = draw(tracks(clip.frame_ids, clip.size, objects=1).filter(lambda t: bool(t.visible.any())))
    boxes = truth.boxes
    keyframe = int(areas(boxes).argmax())
    target = Target(keyframe, "the target", boxes[keyframe : keyframe + 1])
    planned = draw(st.sampled_from([2, 1]))
    rollout = Rollout(clip, draw(queries()), planned)
    for kind, _ in _PLANS[planned]:
        rollout = extend(rollout, render(Answer((target,)), _shown(clip, kind), kind=kind, thinking="It is there."))
    return rollout, truth


def extend(rollout: Rollout, text: str) -> Rollout:
    """The rollout with its next planned round held: `text` replied and parsed as in the paper's plan."""
    kind, parser = _PLANS[rollout.planned][len(rollout.turns)]
    shown = _shown(rollout.clip, kind)
    tokens = np.arange(min(len(text), 5))
    reply = Reply(text, tokens, np.full(len(tokens), -0.5, np.float32))
    turn = Turn(Message("user", (shown, f" {rollout.query.text}")), reply, parser(text, shown))
    return Rollout(rollout.clip, rollout.query, rollout.planned, (*rollout.turns, turn))


def _shown(clip: Clip, kind: str) -> Clip:
    if kind != "box_json":
        return clip
    return Clip(np.zeros((1, _SHOWN, _SHOWN, 3), np.uint8), clip.frame_ids[:1])
