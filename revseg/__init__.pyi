# The public names, in one place: type checkers read them here, and at run time `lazy_loader` imports each when it is
# first used.

from . import ablation as ablation
from . import datasets as datasets
from . import diagnosis as diagnosis
from . import errors as errors
from . import evaluation as evaluation
from . import grounding as grounding
from . import masks as masks
from . import objectives as objectives
from . import policies as policies
from . import report as report
from . import rewards as rewards
from . import rollout as rollout
from . import samplers as samplers
from . import serialise as serialise
from . import testing as testing
from . import trackers as trackers
from . import training as training
from . import types as types
from . import video as video
from .ablation.ablate import ablate as ablate
from .ablation.table import Table as Table
from .ablation.variants import Variant as Variant
from .diagnosis.diagnose import diagnose as diagnose
from .errors import RevsegError as RevsegError
from .evaluation.run import evaluate as evaluate
from .masks import MaskTrack as MaskTrack
from .pipeline import ReVSeg as ReVSeg
from .registry import build as build
from .registry import names as names
from .registry import register as register
from .rewards.score import batched as batched
from .training.config import TrainConfig as TrainConfig
from .training.grpo import train as train
from .types import Answer as Answer
from .types import Clip as Clip
from .types import Grounding as Grounding
from .types import Message as Message
from .types import Query as Query
from .types import Reply as Reply
from .types import RewardBreakdown as RewardBreakdown
from .types import Rollout as Rollout
from .types import Round as Round
from .types import Sample as Sample
from .types import Sampling as Sampling
from .types import Segmentation as Segmentation
from .types import Target as Target
from .types import Turn as Turn
from .video import Video as Video

__version__: str
