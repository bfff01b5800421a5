"""These tests need verl 0.9.1, which has an environment of its own (docs/how-to/train_verl.md); elsewhere they are
skipped."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for cpu_platform and hf_server, here as in the processes of Ray
# Read when verl is imported: a platform for CPUs.
os.environ.update(VERL_PLATFORM="cpu", VERL_USE_EXTERNAL_MODULES="cpu_platform", VERL_ENGINE_DEVICE="cuda")


@pytest.fixture(scope="session")
def small() -> str:
    """The folder of the bundled supervised policy."""
    from revseg.policies.checkpoints import folder_of

    return folder_of("small_sft")


@pytest.fixture(scope="session")
def compose(small: str) -> Any:
    """compose("key=value", ...) -> verl's whole configuration for the small policy with these overrides."""
    pytest.importorskip("verl", reason="verl is not installed here")
    import hydra

    def make(*overrides: str) -> Any:
        common = [f"actor_rollout_ref.model.path={small}", "actor_rollout_ref.rollout.name=hf", "trainer.device=cpu"]
        sizes = ["data.max_prompt_length=512", "data.max_response_length=384"]
        with hydra.initialize_config_module("verl.trainer.config", version_base=None):
            return hydra.compose("ppo_trainer", [*common, *sizes, *overrides])

    return make
