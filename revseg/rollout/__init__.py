"""Conversations: what is asked (prompts), in which order (plans), and how they are held."""

from revseg.rollout import plans, prompts
from revseg.rollout.converse import ask, converse, converse_async, hear, shown

__all__ = ["ask", "converse", "converse_async", "hear", "plans", "prompts", "shown"]
