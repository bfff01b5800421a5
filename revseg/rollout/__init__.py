"""Conversations: prompts, policies and the rounds that they hold. Importing this loads no model."""

from revseg.rollout import given, openai_policy, oracle, prompts, qwen, random_policy, scripted
from revseg.rollout.rounds import run, shown

__all__ = ["given", "openai_policy", "oracle", "prompts", "qwen", "random_policy", "run", "scripted", "shown"]
