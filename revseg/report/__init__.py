"""Results for people: the reasoning page, and a segmentation written to a folder."""

from revseg.record import reasoning_record
from revseg.report.reasoning import reasoning_page
from revseg.report.saving import save

__all__ = ["reasoning_page", "reasoning_record", "save"]
