"""Policies that other modules mean by default."""

DEFAULT = "qwen"  # without a model: the small checkpoint that comes with revseg, which knows the synthetic world alone
PAPER = "qwen:model=Qwen/Qwen2.5-VL-7B-Instruct"  # the paper's, and what to ask for real videos
