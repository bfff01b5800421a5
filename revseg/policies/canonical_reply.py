"""The canonical reply to what a message asks for, for policies that know their targets without a model."""

import json
from collections.abc import Sequence

from revseg.grounding.canonical import render
from revseg.rollout.converse import shown
from revseg.types import Answer, Message, Reply, Rollout, Target


def asks(rollout: Rollout, prompt: Message) -> tuple[str, ...]:
    """What the reply should contain; if the prompt does not say, a keyframe in the first round and boxes later."""
    return prompt.asks or (("box",) if rollout.turns else ("keyframe",))


def write(rollout: Rollout, prompt: Message, targets: Sequence[Target], coords: str, thinking: str = "") -> Reply:
    """The canonical reply with keyframe, box or both of the targets that the prompt is about; "yes" to a verdict.

    Without targets, the reply is that the target is not in the video.
    """
    wanted = asks(rollout, prompt)
    if prompt.about is not None:
        targets = [targets[i] for i in prompt.about if i < len(targets)]
    if "verdict" in wanted:
        return Reply(json.dumps({"verdict": "yes" if targets else "absent"}))
    kind = "_and_".join(part for part in ("keyframe", "box") if part in wanted) + "_json"
    pictures = shown(prompt, rollout.clip)
    return Reply(render(Answer(tuple(targets)), pictures, kind=kind, coords=coords, thinking=thinking))
