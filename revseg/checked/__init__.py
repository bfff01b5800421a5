"""Checks of what parts return, where it is taken; an error names the part, what was expected and what came.

Parts are written by users as well as by us. Without the checks, a wrong value would fail far from the part that made
it, or not at all. Each check is a few comparisons, so all of them always run.
"""

from revseg.checked.conversation import answer as answer
from revseg.checked.conversation import concurrency as concurrency
from revseg.checked.conversation import message as message
from revseg.checked.conversation import out_of_range as out_of_range
from revseg.checked.conversation import replies as replies
from revseg.checked.conversation import round_ as round_
from revseg.checked.numbers import advantages as advantages
from revseg.checked.numbers import logprobs as logprobs
from revseg.checked.numbers import loss as loss
from revseg.checked.numbers import number as number
from revseg.checked.numbers import share as share
from revseg.checked.videos import clip as clip
from revseg.checked.videos import masks as masks
from revseg.checked.videos import mismatches as mismatches
from revseg.checked.videos import sample as sample
from revseg.checked.videos import truth as truth
