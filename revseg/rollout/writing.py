"""What policies that know their answer have in common: the whole answer, told in as many rounds as are planned."""

from collections.abc import Sequence

from revseg.grounding.render import render
from revseg.rollout.rounds import shown
from revseg.types import Answer, Message, Reply, Rollout, Target


def write(rollout: Rollout, prompt: Message, targets: Sequence[Target], coords: str, thinking: str = "") -> Reply:
    """The canonical reply of this round: keyframes and descriptions first, boxes after; both when one round is planned.

    Without targets it says in the first round that there is nothing to find.
    """
    first = not rollout.turns
    kind = "box_json" if not first else "keyframe_and_box_json" if rollout.planned == 1 else "keyframe_json"
    pictures = shown(prompt, rollout.clip)
    return Reply(render(Answer(tuple(targets)), pictures, kind=kind, coords=coords, thinking=thinking))
