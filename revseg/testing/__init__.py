"""For tests: Hypothesis strategies for revseg's types, and one check per kind of part.

A check takes a part or its spec and tries it on many small inputs, the same ones each time. If the part breaks the
contract of its kind, it raises an AssertionError that shows the input. Needs Hypothesis: `pip install hypothesis`.
"""

try:
    import hypothesis as _hypothesis  # noqa: F401
except ImportError as error:
    from revseg.errors import MissingExtraError

    raise MissingExtraError("revseg.testing needs Hypothesis: pip install hypothesis") from error

from revseg.testing.conversations import judged, perfect, rollouts
from revseg.testing.objective import check_objective
from revseg.testing.parser import check_parser
from revseg.testing.policy import check_policy
from revseg.testing.reward import check_reward
from revseg.testing.squares import Scene, moving_squares, scenes
from revseg.testing.strategies import answers, boxes, clips, descriptions, groundings, queries, tracks, videos
from revseg.testing.texts import near_misses, replies
from revseg.testing.tracker import check_tracker

__all__ = [
    "Scene",
    "answers",
    "boxes",
    "check_objective",
    "check_parser",
    "check_policy",
    "check_reward",
    "check_tracker",
    "clips",
    "descriptions",
    "groundings",
    "judged",
    "moving_squares",
    "near_misses",
    "perfect",
    "queries",
    "replies",
    "rollouts",
    "scenes",
    "tracks",
    "videos",
]
