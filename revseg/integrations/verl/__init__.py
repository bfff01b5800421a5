"""verl trains revseg's conversation: its agent loop, positions, rows and command line (docs/how-to/train_verl.md).

Only `agent_loop` imports verl. The other modules are used where verl is not installed, too.
"""

from pathlib import Path

AGENT_LOOPS = str(Path(__file__).with_name("agent_loop.yaml"))
"""For `actor_rollout_ref.rollout.agent.agent_loop_config_path`, which takes only a path to a file."""
