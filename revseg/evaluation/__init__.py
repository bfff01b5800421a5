"""Evaluation: `evaluate` writes a results file; scores, comparisons and submissions are computed from it."""

from revseg.evaluation.formats import FORMATS as FORMATS
from revseg.evaluation.formats import export_predictions as export_predictions
from revseg.evaluation.formats import import_predictions as import_predictions
from revseg.evaluation.rescore import Rescored as Rescored
from revseg.evaluation.rescore import rescore as rescore
from revseg.evaluation.results import Results as Results
from revseg.evaluation.results import Row as Row
from revseg.evaluation.run import evaluate as evaluate
from revseg.evaluation.scores import PROTOCOLS as PROTOCOLS
from revseg.evaluation.scores import Comparison as Comparison
from revseg.evaluation.scores import QueryScore as QueryScore
from revseg.evaluation.scores import Scores as Scores
from revseg.evaluation.scores import compare as compare
from revseg.evaluation.scores import score as score
from revseg.evaluation.submissions import check_submission as check_submission
from revseg.evaluation.submissions import write_submission as write_submission
