"""What policies that know their answer have in common: the canonical reply to what a message asks for."""

import json
from collections.abc import Sequence

from revseg.grounding.canonical import render
from revseg.rollout.converse import shown
from revseg.types import Answer, Message, Reply, Rollout, Target


def asks(rollout: Rollout, prompt: Message) -> tuple[str, ...]:
    """What the reply should give; of a prompt that does not say, a keyframe first and boxes later."""
    return prompt.asks or (("box",) if rollout.turns else ("keyframe",))


def write(rollout: Rollout, prompt: Message, targets: Sequence[Target], coords: str, thinking: str = "") -> Reply:
    """The canonical reply: of `targets` those that the prompt is about, by keyframe, box or both; a "yes" to a check.

    Without targets it says that there is nothing to find.
    """
    wanted = asks(rollout, prompt)
    if prompt.about is not None:
        targets = [targets[i] for i in prompt.about if i < len(targets)]
    if "verdict" in wanted:
        return Reply(json.dumps({"verdict": "yes" if targets else "absent"}))
    kind = "_and_".join(part for part in ("keyframe", "box") if part in wanted) + "_json"
    pictures = shown(prompt, rollout.clip)
    return Reply(render(Answer(tuple(targets)), pictures, kind=kind, coords=coords, thinking=thinking))
