"""Policies, which answer in a conversation; registry `policy`. Importing this loads no model."""

from revseg.policies import given, oracle, random, scripted, words
from revseg.policies.hf import policy as _hf  # noqa: F401  (imported for its registration)
from revseg.policies.openai import policy as _openai  # noqa: F401

__all__ = ["given", "oracle", "random", "scripted", "words"]
