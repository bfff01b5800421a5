"""Masks: run-length tracks of whole videos, and the metrics J and F on them."""

from revseg.masks import metrics
from revseg.masks.dense import binary, encode
from revseg.masks.rle import coco
from revseg.masks.tracks import MaskTrack

__all__ = ["MaskTrack", "binary", "coco", "encode", "metrics"]
