"""Output that appears complete or not at all, and replaces nothing unless asked to.

A result is made beside its place under a hidden name and renamed when it is complete. A killed process never leaves
half a result.
"""

from revseg.output.places import MARK as MARK
from revseg.output.places import check_file as check_file
from revseg.output.places import check_folder as check_folder
from revseg.output.places import check_writable as check_writable
from revseg.output.writing import fresh_file as fresh_file
from revseg.output.writing import fresh_folder as fresh_folder
from revseg.output.writing import is_full as is_full
from revseg.output.writing import write_text as write_text
