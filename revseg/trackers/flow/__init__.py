"""Tracker `flow`: no weights, only colour and optical flow."""

from revseg.trackers.flow import tracker  # noqa: F401  (imported for its registration)
