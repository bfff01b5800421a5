"""The command's options against verl's own configuration."""

# pyright: reportMissingImports=false

import json
from typing import Any

import pytest

pytest.importorskip("verl", reason="verl is not installed here")

import hydra
from omegaconf import OmegaConf
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.utils.config import validate_config

import revseg
from revseg.integrations.verl.command import Machines, overrides, written

DEFAULTS = {  # what docs/how-to/train_verl.md says of verl, and the option that the command sets instead
    "algorithm.adv_estimator": ("gae", "grpo"),
    "actor_rollout_ref.actor.loss_agg_mode": ("token-mean", "seq-mean-token-mean"),
    "actor_rollout_ref.actor.use_kl_loss": (False, True),
    "actor_rollout_ref.actor.clip_ratio_c": (3.0, 1e9),
    "actor_rollout_ref.actor.optim.weight_decay": (0.01, 0.0),
    "actor_rollout_ref.actor.optim.betas": ([0.9, 0.999], [0.9, 0.95]),
    "actor_rollout_ref.rollout.tensor_model_parallel_size": (2, 1),
    "data.seed": (None, 0),
    "data.filter_overlong_prompts": (False, False),
    "data.max_prompt_length": (512, 3072),
    "data.max_response_length": (512, 3072),
}


def composed(*options: str) -> Any:
    with hydra.initialize_config_module("verl.trainer.config", version_base=None):
        return hydra.compose("ppo_trainer", list(options))


def test_the_defaults_that_are_replaced() -> None:
    options = overrides(revseg.ReVSeg(policy="hf:model=small_sft"), revseg.TrainConfig(), "r.parquet", "o")
    theirs, ours = composed(), composed(*written(options))
    for name, (default, mine) in DEFAULTS.items():
        assert OmegaConf.select(theirs, name) == default, name
        assert OmegaConf.select(ours, name) == mine, name


@pytest.mark.parametrize(
    ("bf16", "machines"), [(True, Machines(8, 1)), (True, Machines(8, 4)), (False, Machines(1, 1))]
)
def test_verl_accepts_the_options(bf16: bool, machines: Machines) -> None:
    model = revseg.ReVSeg(policy="hf:model=small_sft", plan="per_object", rewards="fig4")
    options = overrides(model, revseg.TrainConfig(bf16=bf16), "r.parquet", "o", machines)
    config = composed(*written(options))
    validate_config(config, need_reference_policy(config), need_critic(config))
    settings = json.loads(config.revseg.settings)
    assert settings["plan"]["name"] == "per_object"
    assert settings["rewards"] == "fig4"
