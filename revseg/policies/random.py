"""A policy that answers at random: the lower bound."""

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

from revseg.grounding.boxes import to_unit
from revseg.policies.canonical_reply import write
from revseg.registry import register
from revseg.rollout.converse import shown
from revseg.types import Message, Reply, Rollout, Sampling, Target


@register("policy", "random")
class RandomPolicy:
    """A keyframe drawn uniformly, and a box with uniform corners.

    Draws depend on `seed`, `sampling.seed` and the conversation; equal conversations in a batch get different draws.
    """

    def __init__(self, seed: int = 0, coords: str = "pixel") -> None:
        self.seed = seed
        self.coords = coords

    def reply(self, rollouts: Sequence[Rollout], prompts: Sequence[Message], *, sampling: Sampling) -> list[Reply]:
        replies, seen = [], Counter[bytes]()
        for rollout, prompt in zip(rollouts, prompts, strict=True):
            content = _digest(rollout, f"{self.seed} {sampling.seed}")
            draw = np.random.default_rng([seen[content], *content])
            seen[content] += 1
            replies.append(write(rollout, prompt, [self._target(rollout, prompt, draw)], self.coords))
        return replies

    def _target(self, rollout: Rollout, prompt: Message, draw: np.random.Generator) -> Target:
        height, width = shown(prompt, rollout.clip).size
        x1, x2 = sorted(draw.choice(width + 1, 2, replace=False))
        y1, y2 = sorted(draw.choice(height + 1, 2, replace=False))
        keyframe = int(rollout.clip.frame_ids[draw.integers(len(rollout.clip))])
        box = to_unit(np.array([[x1, y1, x2, y2]]), (height, width))
        return Target(keyframe, rollout.query.text.strip() or "object", box)


def _digest(rollout: Rollout, seeds: str) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in (seeds, rollout.query.id, rollout.query.text, *(turn.reply.text for turn in rollout.turns)):
        digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
    digest.update(rollout.clip.frame_ids.tobytes() + bytes(str(rollout.clip.size), "ascii"))
    return digest.digest()
