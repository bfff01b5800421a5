"""Training by reinforcement learning: GRPO and its relatives on a policy's own rollouts."""
