"""Results for people: the reasoning page, the folder of a segmentation, and a site to browse an evaluation."""

from revseg.report.reasoning import reasoning_page
from revseg.report.saving import save
from revseg.report.site import write_site
from revseg.serialise import record_of

__all__ = ["reasoning_page", "record_of", "save", "write_site"]
