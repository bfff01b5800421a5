"""Excerpts of a clip, and messages that show an excerpt or no picture at all."""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool

from revseg.types import Clip, Message, Turn


def draw_start(visible: Bool[np.ndarray, "o t"], frames: int, rng: np.random.Generator) -> int:
    """The first frame of an excerpt of `frames` frames, given on which frames of the clip each object is visible.

    In three of four draws an object appears or disappears within the excerpt, if any does in the clip. The start is
    even, so that the pairs of frames that share a temporal patch are those of the whole clip.
    """
    last = max(visible.shape[1] - frames, 0)
    changes = np.flatnonzero((visible[:, 1:] != visible[:, :-1]).any(0))
    if not len(changes) or rng.random() < 0.25:
        return int(rng.integers(last + 1)) // 2 * 2
    change = int(rng.choice(changes))
    return int(rng.integers(min(max(change + 2 - frames, 0), last), min(change, last) + 1)) // 2 * 2


def excerpt(message: Message, frames: slice) -> Message:
    """The message with only these frames of its clip."""
    return replace(
        message,
        parts=tuple(Clip(p.frames[frames], p.frame_ids[frames]) if isinstance(p, Clip) else p for p in message.parts),
    )


def without_pictures(turn: Turn) -> Turn:
    """The turn with only the text of its prompt."""
    parts = tuple(part for part in turn.prompt.parts if isinstance(part, str))
    return replace(turn, prompt=replace(turn.prompt, parts=parts))
