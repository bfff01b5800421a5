"""Which videos the checkpoints that come with revseg know: those of the synthetic world `shapes`, and no other."""

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from revseg.errors import FootageWarning, SpecError
from revseg.registry import spec_of
from revseg.rollout.bundled import bundled
from revseg.spec import parse_spec
from revseg.suggest import REAL_POLICY
from revseg.video import Video


def policy_for_footage(asked: str | None, *, box: bool) -> str:
    """The policy for videos that `shapes` did not paint: the one asked for, because there is no default one.

    SpecError, saying what to ask for, when nothing was; `box` mentions --box as a way out.
    """
    if asked is not None:
        return asked
    other = ", or give --box with --keyframe to show the target yourself" if box else ""
    raise SpecError(
        f"the bundled policy knows only the synthetic world: say --policy {REAL_POLICY} (with --tracker sam2){other}"
    )


def knows_only_shapes(policy: Any) -> bool:
    """True for the spec of a checkpoint that comes with revseg."""
    if isinstance(policy, str) and policy.partition(":")[0] == "qwen":
        policy = {"name": "qwen", **parse_spec(policy)[1]}
    if not isinstance(policy, Mapping) or policy.get("name") != "qwen":
        return False
    model = policy.get("model")
    return (model is None or isinstance(model, str)) and bundled(model) is not None and not policy.get("adapter")


def warn_of_footage(policy: Any, videos: Iterable[Video]) -> None:
    """A FootageWarning when the spec `policy` is a bundled checkpoint and `shapes` did not paint all of the videos."""
    from revseg.datasets.shapes_render import Painter

    if knows_only_shapes(policy) and not all(isinstance(video.reader, Painter) for video in videos):
        warnings.warn(
            f"the bundled policy {spec_of(policy)} knows only the synthetic world: what it says of other videos means "
            f"nothing; for real footage take a policy such as {REAL_POLICY}",
            FootageWarning,
            stacklevel=4,
        )
