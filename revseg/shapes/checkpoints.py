"""The three small policies trained on the synthetic world, as registered checkpoints."""

from pathlib import Path

from revseg.policies.checkpoints import Checkpoint
from revseg.shapes.render import Painter
from revseg.video import Video

ASSETS = Path(__file__).parent / "assets"


def _is_synthetic(video: Video) -> bool:
    return isinstance(video.reader, Painter)


def _checkpoint(name: str) -> Checkpoint:
    return Checkpoint(ASSETS / name, knows=_is_synthetic, world="the synthetic world")


def small_sft() -> Checkpoint:
    """The small policy after supervised fine-tuning."""
    return _checkpoint("small_sft")


def small_mixed() -> Checkpoint:
    """The small policy fine-tuned on good and on low-quality demonstrations, where RL has something to improve.

    The ablations start from it.
    """
    return _checkpoint("small_mixed")


def small_grpo() -> Checkpoint:
    """The small policy after GRPO: what the policy `qwen` loads when no model is named."""
    return _checkpoint("small_grpo")
