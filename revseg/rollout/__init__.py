"""Conversations: prompts, policies and the rounds that they hold. Importing this loads no model."""

from revseg.rollout import given, openai_policy, oracle, plans, prompts, qwen, random_policy, scripted
from revseg.rollout.converse import ask, converse, converse_async, hear, shown

__all__ = ["ask", "converse", "converse_async", "given", "hear", "openai_policy", "oracle", "plans", "prompts", "qwen"]
__all__ += ["random_policy", "scripted", "shown"]
