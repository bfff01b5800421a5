"""Ablations: variants of a model, run with several seeds, in a table with intervals and p-values."""

from revseg.ablation.ablate import ablate
from revseg.ablation.table import Cell, Table
from revseg.ablation.variants import Variant

__all__ = ["Cell", "Table", "Variant", "ablate"]
