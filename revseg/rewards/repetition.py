"""The repetition reward: penalises repeated phrases."""

from revseg.masks import MaskTrack
from revseg.registry import register
from revseg.types import Rollout


@register("reward", "repetition")
def repetition(rollout: Rollout, truth: MaskTrack, *, n: int = 6) -> float:
    """The share of distinct word n-grams: 1 when a reply repeats none, near 0 in an endless loop.

    The mean over the replies, each on its own, since round 2 may repeat round 1's description. A reply of fewer than n
    words gets 1. VLM-R1's penalty, shifted from [-1, 0] to [0, 1]. Replies that did not parse count too. 0 for a
    rollout without replies.
    """
    scores = [_distinct(turn.reply.text.split(), n) for turn in rollout.turns]
    return sum(scores) / len(scores) if scores else 0.0


def _distinct(words: list[str], n: int) -> float:
    grams = list(zip(*(words[i:] for i in range(n)), strict=False))
    return len(set(grams)) / len(grams) if grams else 1.0
