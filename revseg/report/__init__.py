"""Results for people: the reasoning page, a segmentation written to a folder, and a site to browse an evaluation."""

from revseg.record import reasoning_record
from revseg.report.reasoning import reasoning_page
from revseg.report.saving import save
from revseg.report.site import write_site

__all__ = ["reasoning_page", "reasoning_record", "save", "write_site"]
