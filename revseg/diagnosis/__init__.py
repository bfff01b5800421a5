"""Diagnosis: which stage of the method the errors of an evaluation come from, and what is wrong with a training."""

from revseg.diagnosis.diagnose import Diagnosis, diagnose

__all__ = ["Diagnosis", "diagnose"]
