"""revseg: reasoning video segmentation, in parts that swap in one line.

The public names are resolved when first used, so that `import revseg` loads neither torch nor OpenCV.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "TrainConfig": "revseg.training.config",
    "train": "revseg.training.grpo",
    "evaluate": "revseg.evaluation.run",
    "ablate": "revseg.ablation.ablate",
    "Table": "revseg.ablation.table",
    "Variant": "revseg.ablation.variants",
    "diagnose": "revseg.diagnosis.diagnose",
    "ReVSeg": "revseg.pipeline",
    "Segmentation": "revseg.types",
    "Video": "revseg.video",
    "Clip": "revseg.types",
    "Query": "revseg.types",
    "Message": "revseg.types",
    "Target": "revseg.types",
    "Answer": "revseg.types",
    "Sampling": "revseg.types",
    "Reply": "revseg.types",
    "Turn": "revseg.types",
    "Rollout": "revseg.types",
    "Grounding": "revseg.types",
    "Sample": "revseg.types",
    "RewardBreakdown": "revseg.types",
    "MaskTrack": "revseg.masks",
    "RevsegError": "revseg.errors",
    "Round": "revseg.types",
    "batched": "revseg.rewards",
    "build": "revseg.registry",
    "register": "revseg.registry",
    "names": "revseg.registry",
}
_MODULES = (
    "datasets",
    "errors",
    "evaluation",
    "grounding",
    "masks",
    "metrics",
    "objectives",
    "rewards",
    "rollout",
    "testing",
)
_MODULES += ("trackers", "training", "types", "video")

__all__ = [*_PUBLIC, "__version__"]  # pyright: ignore[reportUnsupportedDunderAll]

if TYPE_CHECKING:
    from revseg.ablation.ablate import ablate as ablate
    from revseg.ablation.table import Table as Table
    from revseg.ablation.variants import Variant as Variant
    from revseg.diagnosis.diagnose import diagnose as diagnose
    from revseg.errors import RevsegError as RevsegError
    from revseg.evaluation.run import evaluate as evaluate
    from revseg.masks import MaskTrack as MaskTrack
    from revseg.pipeline import ReVSeg as ReVSeg
    from revseg.registry import build as build
    from revseg.registry import names as names
    from revseg.registry import register as register
    from revseg.rewards.score import batched as batched
    from revseg.training.config import TrainConfig as TrainConfig
    from revseg.training.grpo import train as train
    from revseg.types import Answer as Answer
    from revseg.types import Clip as Clip
    from revseg.types import Grounding as Grounding
    from revseg.types import Message as Message
    from revseg.types import Query as Query
    from revseg.types import Reply as Reply
    from revseg.types import RewardBreakdown as RewardBreakdown
    from revseg.types import Rollout as Rollout
    from revseg.types import Round as Round
    from revseg.types import Sample as Sample
    from revseg.types import Sampling as Sampling
    from revseg.types import Segmentation as Segmentation
    from revseg.types import Target as Target
    from revseg.types import Turn as Turn
    from revseg.video import Video as Video


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"revseg.{name}")
    raise AttributeError(f"module 'revseg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*_PUBLIC, *_MODULES, "__version__"])
