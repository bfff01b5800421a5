"""Conversations: prompts, policies and the rounds that they hold. Importing this loads no model."""

from revseg.rollout import given, oracle, prompts, random_policy, scripted
from revseg.rollout.rounds import run, shown

__all__ = ["given", "oracle", "prompts", "random_policy", "run", "scripted", "shown"]
