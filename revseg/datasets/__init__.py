"""Datasets: lazy sequences of samples; registry `dataset`."""

from typing import Any

from revseg import registry
from revseg.datasets import shapes as shapes
from revseg.types import Dataset


def build(spec: Any) -> Dataset:
    """`revseg.datasets.build("shapes:size=32")`: the same as `revseg.build("dataset", spec)`."""
    return registry.build("dataset", spec)
