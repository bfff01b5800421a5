"""Trackers: from groundings to masks on every frame of the source."""

from revseg.trackers import fill_box, flow, oracle, sam2, sam2_hf, sam3_concept  # noqa: F401  (imported for their registration)
