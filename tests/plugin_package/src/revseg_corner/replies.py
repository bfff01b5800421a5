"""A round without JSON: a question, and replies such as "3: the red ball"."""

import re

from revseg.types import Answer, Clip, Message, Rollout, Target


def plain_question(rollout: Rollout, *, word: str = "Frame?") -> Message:
    """The clip, the question and one word."""
    return Message("user", (rollout.clip, f"{rollout.query.text} {word}"))


def plain_keyframe(text: str, shown: Clip) -> Answer:
    """ "3: the red ball", after the thinking; one rule."""
    found = re.fullmatch(r"\s*([0-9]{1,9}):\s*(\S.*)", text.rpartition("</think>")[2], re.DOTALL)
    if not found:
        return Answer(error="no_colon", form=0.0, detail="expected a frame number, a colon and a description")
    if int(found[1]) >= len(shown):
        return Answer(error="keyframe_range", form=0.0, detail=f"expected 0..{len(shown) - 1}, got {found[1]}")
    return Answer((Target(int(shown.frame_ids[int(found[1])]), found[2].strip()),))
