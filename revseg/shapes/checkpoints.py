"""The three small policies that know the synthetic world, as registered checkpoints."""

from pathlib import Path

from revseg.policies.checkpoints import Checkpoint
from revseg.shapes.render import Painter
from revseg.video import Video

ASSETS = Path(__file__).parent / "assets"


def _painted(video: Video) -> bool:
    return isinstance(video.reader, Painter)


def _checkpoint(name: str) -> Checkpoint:
    return Checkpoint(ASSETS / name, knows=_painted, world="the synthetic world")


def small_sft() -> Checkpoint:
    """The small policy after supervised fine-tuning."""
    return _checkpoint("small_sft")


def small_mixed() -> Checkpoint:
    """The small policy with room that rewards can fill: where the ablations start."""
    return _checkpoint("small_mixed")


def small_grpo() -> Checkpoint:
    """The small policy after GRPO: what the policy `qwen` is without a model."""
    return _checkpoint("small_grpo")
