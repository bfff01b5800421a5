"""Replies to answers: parsers, their inverse `render`, and boxes as arithmetic."""

from revseg.grounding.boxes import areas, box_of, clamp, iou, to_pixels, to_unit, union_box
from revseg.grounding.canonical import render
from revseg.grounding.parsers import FAILURES, box_json, keyframe_and_box_json, keyframe_json
from revseg.grounding.verdict import verdict

__all__ = [
    "FAILURES",
    "areas",
    "box_json",
    "box_of",
    "clamp",
    "iou",
    "keyframe_and_box_json",
    "keyframe_json",
    "render",
    "to_pixels",
    "to_unit",
    "union_box",
    "verdict",
]
