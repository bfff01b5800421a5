"""The format reward: does every reply keep to the form it was asked for."""

from revseg.masks import MaskTrack
from revseg.registry import register
from revseg.types import Rollout


@register("reward", "format")
def format(rollout: Rollout, truth: MaskTrack) -> float:
    """`rollout.form`: the mean of `answer.form` over the rounds that were due, in [0, 1] (ReVSeg, Sec. 3.3, r_f).

    The parsers judge the form (the share of their rules that a reply meets, listed in their docstrings); nothing is
    read a second time here. Rounds that had to follow are due too, so a rollout that stopped at a failed reply earns 0
    for those it did not reach. A well-formed "not in the video" ends the conversation rightly: then only the rounds
    held were due.
    """
    return min(1.0, rollout.form)
