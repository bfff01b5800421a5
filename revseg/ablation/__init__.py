"""Ablations: variants of one model, run over seeds, in a table that says how sure its figures are."""

from revseg.ablation.ablate import ablate
from revseg.ablation.table import Cell, Table
from revseg.ablation.variants import Variant

__all__ = ["Cell", "Table", "Variant", "ablate"]
