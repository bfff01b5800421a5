"""Scores computed from a results file: one module per benchmark, with the averaging of its official code."""

from revseg.evaluation.scores.compare import Comparison as Comparison
from revseg.evaluation.scores.compare import compare as compare
from revseg.evaluation.scores.protocols import PROTOCOLS as PROTOCOLS
from revseg.evaluation.scores.protocols import score as score
from revseg.evaluation.scores.table import QueryScore as QueryScore
from revseg.evaluation.scores.table import Scores as Scores
