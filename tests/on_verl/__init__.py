"""Tests of the plug-in for verl, in verl's own environment."""
