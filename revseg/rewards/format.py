"""The format reward: does every reply keep to the form it was asked for."""

from revseg.masks import MaskTrack
from revseg.registry import register
from revseg.types import Rollout


@register("reward", "format")
def format(rollout: Rollout, truth: MaskTrack) -> float:
    """Mean of `answer.form` over the rounds that were due, in [0, 1] (ReVSeg, Sec. 3.3, r_f): `Rollout.form`.

    The parsers judge the form (the share of their rules that a reply meets, listed in their docstrings); nothing is
    read a second time here. All planned rounds are due, so a rollout that stopped at a failed reply earns 0 for the
    rounds it did not reach. A well-formed "not in the video" ends the conversation rightly: then only the rounds held
    were due.
    """
    return rollout.form
