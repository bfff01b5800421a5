"""Strategies for rollouts (unfinished, failed, absent, complete) and the truth to judge them by."""

import numpy as np
from hypothesis import strategies as st

from revseg.grounding.boxes import areas
from revseg.grounding.canonical import render
from revseg.grounding.parsers import box_json, keyframe_and_box_json, keyframe_json
from revseg.masks import MaskTrack
from revseg.rollout.converse import hear
from revseg.testing.strategies import Draw, clips, queries, tracks
from revseg.testing.texts import replies
from revseg.types import Answer, Clip, Message, Reply, Rollout, Round, Target

_PLANS = {1: [("keyframe_and_box_json", keyframe_and_box_json)]}
_PLANS[2] = [("keyframe_json", keyframe_json), ("box_json", box_json)]
_SHOWN = 84  # side in pixels of the pictures in round 2, which differs from the clip's


@st.composite
def rollouts(draw: Draw, clip: Clip | None = None) -> Rollout:
    """Rollouts of a plan of one or two rounds, after any of them, with good replies, near misses and noise."""
    seen = draw(clips()) if clip is None else clip
    planned = draw(st.sampled_from([2, 2, 1]))
    rollout = Rollout(seen, draw(queries()))
    for number in range(min(planned, draw(st.sampled_from([2, 2, 2, 1, 0])))):
        if rollout.status != "open":
            break
        kind = _PLANS[planned][number][0]
        rollout = extend(rollout, draw(replies(_shown(seen, kind), kind)), planned)
    return rollout


@st.composite
def judged(draw: Draw) -> tuple[Rollout, MaskTrack]:
    """A rollout, and the truth of the frames shown in it, in order: the arguments of a reward."""
    rollout = draw(rollouts())
    return rollout, draw(tracks(rollout.frame_ids, rollout.clip.size))


@st.composite
def perfect(draw: Draw) -> tuple[Rollout, MaskTrack]:
    """A truth with one object, and the rollout whose keyframe has its largest box, with that box as the answer."""
    clip = draw(clips())
    truth = draw(tracks(clip.frame_ids, clip.size, objects=1).filter(lambda t: bool(t.visible.any())))
    boxes = truth.boxes
    best = int(areas(boxes).argmax())
    target = Target(int(clip.frame_ids[best]), "the target", boxes[best : best + 1])
    planned = draw(st.sampled_from([2, 1]))
    rollout = Rollout(clip, draw(queries()))
    for kind, _ in _PLANS[planned]:
        text = render(Answer((target,)), _shown(clip, kind), kind=kind, thinking="It is there.")
        rollout = extend(rollout, text, planned)
    return rollout, truth


def extend(rollout: Rollout, text: str, planned: int = 2) -> Rollout:
    """The rollout after its next round of `planned`: with the reply `text`, parsed as in the paper's plan."""
    kind, parser = _PLANS[planned][len(rollout.turns)]
    pictures = _shown(rollout.clip, kind)
    tokens = np.arange(min(len(text), 5))
    reply = Reply(text, tokens, np.full(len(tokens), -0.5, np.float32))
    round_ = Round(
        kind.removesuffix("_json"), lambda r: Message("user", ()), parser, then=planned - len(rollout.turns) - 1
    )
    return hear(rollout, round_, Message("user", (pictures, f" {rollout.query.text}")), reply)


def _shown(clip: Clip, kind: str) -> Clip:
    if kind != "box_json":
        return clip
    return Clip(np.zeros((1, _SHOWN, _SHOWN, 3), np.uint8), clip.frame_ids[:1])
