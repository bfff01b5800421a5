"""The format reward: whether every reply has the requested form."""

from revseg.masks import MaskTrack
from revseg.registry import register
from revseg.types import Rollout


@register("reward", "format")
def format(rollout: Rollout, truth: MaskTrack) -> float:
    """`rollout.form`: the mean of `answer.form` over the rounds that were due, in [0, 1] (ReVSeg, Sec. 3.3, r_f).

    `answer.form` is the share of its parser's rules that a reply meets. Rounds that a rollout did not reach because a
    reply failed are due too, and count 0. After a well-formed "not in the video" no further rounds are due.
    """
    return min(1.0, rollout.form)
