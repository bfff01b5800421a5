"""The repetition reward: against replies that go round in circles."""

from revseg.masks import MaskTrack
from revseg.registry import register
from revseg.types import Rollout


@register("reward", "repetition")
def repetition(rollout: Rollout, truth: MaskTrack, *, n: int = 6) -> float:
    """The share of distinct n-grams of words: 1 when no reply repeats one, near 0 in an endless loop.

    The mean over the replies, each against itself alone (round 2 may well repeat round 1's description); a reply of
    fewer than n words cannot repeat. VLM-R1's penalty, shifted from [-1, 0] to [0, 1]. It judges text, not success: a
    reply that did not parse is judged too. 0 for a rollout without replies.
    """
    scores = [_distinct(turn.reply.text.split(), n) for turn in rollout.turns]
    return sum(scores) / len(scores) if scores else 0.0


def _distinct(words: list[str], n: int) -> float:
    grams = list(zip(*(words[i:] for i in range(n)), strict=False))
    return len(set(grams)) / len(grams) if grams else 1.0
