"""RL objectives of four swappable pieces (advantages, policy loss, KL estimate, aggregation), and named presets."""

from revseg.objectives import presets
from revseg.objectives.advantages import ADVANTAGES
from revseg.objectives.aggregation import AGGREGATIONS, Aggregation
from revseg.objectives.kl import KL
from revseg.objectives.losses import LOSSES
from revseg.objectives.objective import Objective

__all__ = ["ADVANTAGES", "AGGREGATIONS", "KL", "LOSSES", "Aggregation", "Objective", "presets"]
