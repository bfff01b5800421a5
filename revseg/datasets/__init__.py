"""Datasets: sequences of samples that are read when indexed; registry `dataset`."""

from typing import Any

from revseg import registry
from revseg.datasets import fevos as fevos
from revseg.datasets import filtered as filtered
from revseg.datasets import folder as folder
from revseg.datasets import groundmore as groundmore
from revseg.datasets import long_rvos as long_rvos
from revseg.datasets import lv_vis as lv_vis
from revseg.datasets import mevis as mevis
from revseg.datasets import mixture as mixture
from revseg.datasets import ok_vos as ok_vos
from revseg.datasets import reason_seg as reason_seg
from revseg.datasets import reason_vos as reason_vos
from revseg.datasets import ref_davis17 as ref_davis17
from revseg.datasets import ref_sav as ref_sav
from revseg.datasets import ref_youtube_vos as ref_youtube_vos
from revseg.datasets import revos as revos
from revseg.types import Dataset


def build(spec: Any) -> Dataset:
    """`revseg.datasets.build("shapes:size=32")`: the same as `revseg.build("dataset", spec)`."""
    return registry.build("dataset", spec)
