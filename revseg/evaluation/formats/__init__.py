"""Predictions in the files of other projects: a results file as such files, and such files as a results file."""

from revseg.evaluation.formats.convert import FORMATS as FORMATS
from revseg.evaluation.formats.convert import export_predictions as export_predictions
from revseg.evaluation.formats.convert import import_predictions as import_predictions
