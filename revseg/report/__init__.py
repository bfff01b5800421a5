"""Results for people: the reasoning page, and a segmentation written to a folder."""

from revseg.report.reasoning import reasoning_page
from revseg.report.saving import reasoning_record, save

__all__ = ["reasoning_page", "reasoning_record", "save"]
