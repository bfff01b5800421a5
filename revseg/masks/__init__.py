"""Masks: run-length tracks of whole videos, the figures J and F, and packed masks, on which F is computed."""

from revseg.masks import metrics
from revseg.masks.tracks import MaskTrack, binary, coco, encode

__all__ = ["MaskTrack", "binary", "coco", "encode", "metrics"]
