"""Segmentations as plain JSON: what result folders and results files hold.

`record_of` writes everything except pixels and sampled tokens; `rollout_from` and `segmentation_from` read it back.
Coordinates are written with as many digits as it takes to read the same float32 again.
"""

from revseg.serialise.from_json import rollout_from as rollout_from
from revseg.serialise.from_json import segmentation_from as segmentation_from
from revseg.serialise.to_json import conversation_of as conversation_of
from revseg.serialise.to_json import record_of as record_of
from revseg.serialise.to_json import rewards_of as rewards_of
from revseg.serialise.versions import versions as versions
