"""Every type that crosses a module, with shapes: the page to read first.

Conventions, everywhere in the library:

- boxes are **xyxy divided by width and height**, half-open: `0 <= x1 < x2 <= 1`, `float32[k 4]`;
- frame numbers are 0-based; a *frame id* counts the frames of the source, and nothing outside a parser counts
  anything else (a reply counts the pictures that it was shown; its parser converts);
- frames are RGB `uint8[t h w 3]`, masks are `bool[t h w]`, sizes are `(height, width)`;
- axes: `t` frames, `o` objects, `k` boxes, `m` points, `n` tokens.

Only a parser (text to unit box, by the size of the picture shown in that round) and a tracker (unit box to pixels of
the source) know a size in pixels.
"""

from revseg.types.conversation import (
    MAX_NEW_TOKENS,
    MAX_OBJECT_ID,
    ROLES,
    Answer,
    Boxes,
    Clip,
    FrameIds,
    Frames,
    Grounding,
    Message,
    PointLabels,
    Points,
    Query,
    Reply,
    Sampling,
    Target,
    Turn,
    no_boxes,
)
from revseg.types.datasets import (
    HasCounts,
    HasExcluded,
    HasExpectedCounts,
    HasFaults,
    HasForeground,
    HasObjects,
    HasSource,
    HasVideoIds,
    HasVoid,
    ListsSamples,
)
from revseg.types.parts import (
    Dataset,
    HasDefaults,
    NamesWeights,
    NeedsTruth,
    Parser,
    Plan,
    Policy,
    PreparesRequests,
    Prompt,
    ReadsDefaults,
    ReplyOne,
    Reward,
    Round,
    Sampler,
    ServedPolicy,
    Tracker,
)
from revseg.types.results import RewardBreakdown, Sample, Segmentation
from revseg.types.rollout import Rollout, merge_targets
from revseg.types.training import (
    CountsTokens,
    CountsWeights,
    Objective,
    TokenCounts,
    TrainablePolicy,
    TrainedPolicy,
    TrainingObjective,
    WeightCounts,
)

__all__ = [
    "MAX_NEW_TOKENS",
    "MAX_OBJECT_ID",
    "ROLES",
    "Answer",
    "Boxes",
    "Clip",
    "CountsTokens",
    "CountsWeights",
    "Dataset",
    "FrameIds",
    "Frames",
    "Grounding",
    "HasCounts",
    "HasDefaults",
    "HasExcluded",
    "HasExpectedCounts",
    "HasFaults",
    "HasForeground",
    "HasObjects",
    "HasSource",
    "HasVideoIds",
    "HasVoid",
    "ListsSamples",
    "Message",
    "NamesWeights",
    "NeedsTruth",
    "Objective",
    "Parser",
    "Plan",
    "PointLabels",
    "Points",
    "Policy",
    "PreparesRequests",
    "Prompt",
    "Query",
    "ReadsDefaults",
    "Reply",
    "ReplyOne",
    "Reward",
    "RewardBreakdown",
    "Rollout",
    "Round",
    "Sample",
    "Sampler",
    "Sampling",
    "Segmentation",
    "ServedPolicy",
    "Target",
    "TokenCounts",
    "Tracker",
    "TrainablePolicy",
    "TrainedPolicy",
    "TrainingObjective",
    "Turn",
    "WeightCounts",
    "merge_targets",
    "no_boxes",
]
