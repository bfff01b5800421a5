"""The small policies that come with revseg, by name."""

from pathlib import Path

ASSETS = Path(__file__).parent.parent / "assets"
DEFAULT = "small_grpo"  # what `qwen` is without a model


def bundled(model: str | None) -> Path | None:
    """The folder of the bundled checkpoint that `model` names (None: the default one); None for any other model.

    A folder of one's own with such a name is reached as `./NAME`.
    """
    name = DEFAULT if model is None else model
    return ASSETS / name if name in {path.parent.name for path in ASSETS.glob("*/config.json")} else None
