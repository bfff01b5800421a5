"""Masks: run-length tracks of whole videos, the figures J and F, and the packed masks of a browsable site."""

from revseg.masks.tracks import MaskTrack, binary, coco, encode

__all__ = ["MaskTrack", "binary", "coco", "encode"]
