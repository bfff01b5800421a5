"""A configuration of `revseg train` as verl's options: everything is translated or refused."""

import json
import shlex
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from revseg.cli.app import app
from revseg.errors import InputError
from revseg.integrations.verl.command import REFUSED, TRANSLATED, Machines, command, overrides, written
from revseg.integrations.verl.objective import objective_options
from revseg.integrations.verl.shared import shared
from revseg.pipeline import ReVSeg
from revseg.policies.checkpoints import folder_of
from revseg.training.config import TrainConfig

MODEL = ReVSeg(policy="hf:model=small_sft,fps=4.0", plan="per_object", num_frames=8)
ACTOR, ROLLOUT = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"

OTHER: dict[str, Any] = {  # another value than the default of each setting
    "steps": 9,
    "queries_per_step": 6,
    "group_size": 5,
    "updates_per_batch": 2,
    "objective": "grpo:beta=0,clip_high=0.28",
    "lr": 3e-5,
    "warmup": 3,
    "lr_decay": True,
    "optimizer": "muon",
    "weight_decay": 0.1,
    "grad_clip": 0.5,
    "temperature": 0.9,
    "top_p": 0.95,
    "max_new_tokens": 77,
    "max_tokens_per_forward": 9000,
    "bf16": True,
    "gradient_checkpointing": True,
    "lora_rank": 8,
    "freeze_vision": True,
    "reference": "cpu",
    "save_every": 7,
    "samples_every": 3,
    "check_memory": False,
    "prefetch": 4,
    "clip_cache": "clips",
    "clip_cache_gb": 9.0,
    "log_with": "wandb",
    "seed": 5,
}


def options(**changes: Any) -> dict[str, Any]:
    return overrides(MODEL, TrainConfig(**changes), "rows.parquet", "runs/x")


def test_every_setting_is_translated_or_refused() -> None:
    names = {field.name for field in fields(TrainConfig)}
    assert names == set(OTHER) == {*TRANSLATED, *REFUSED}
    assert not {*TRANSLATED} & {*REFUSED}


@pytest.mark.parametrize("name", OTHER)
def test_a_setting(name: str) -> None:
    """Another value changes the options, or is refused with the setting's name and the reason."""
    assert getattr(TrainConfig(), name) != OTHER[name]
    if name in REFUSED:
        with pytest.raises(InputError, match=f"verl cannot follow {name}=.*: {REFUSED[name].split(':')[0]}"):
            options(**{name: OTHER[name]})
    else:
        assert options(**{name: OTHER[name]}) != options()


def test_the_values() -> None:
    found = options(**{name: value for name, value in OTHER.items() if name in TRANSLATED})
    expected = {
        "trainer.total_training_steps": 9,
        "data.train_batch_size": 6,
        f"{ACTOR}.ppo_mini_batch_size": 6,
        f"{ROLLOUT}.n": 5,
        f"{ACTOR}.ppo_epochs": 2,
        f"{ACTOR}.use_kl_loss": False,
        f"{ACTOR}.clip_ratio_low": 0.2,
        f"{ACTOR}.clip_ratio_high": 0.28,
        f"{ACTOR}.optim.lr": 3e-5,
        f"{ACTOR}.optim.weight_decay": 0.1,
        f"{ACTOR}.optim.clip_grad": 0.5,
        f"{ROLLOUT}.temperature": 0.9,
        f"{ROLLOUT}.top_p": 0.95,
        f"{ACTOR}.ppo_max_token_len_per_gpu": 9000,
        f"{ROLLOUT}.dtype": "bfloat16",
        "actor_rollout_ref.model.use_remove_padding": True,
        "actor_rollout_ref.model.enable_gradient_checkpointing": True,
        "actor_rollout_ref.ref.fsdp_config.param_offload": True,
        "trainer.save_freq": 7,
        "trainer.logger": ["console", "file", "wandb"],
        "data.seed": 5,
    }
    assert {name: found[name] for name in expected} == expected


def test_the_conversation_is_resolved_for_the_workers() -> None:
    """The workers get every setting of it: nothing is read from beside the weights again."""
    found = options(max_new_tokens=77)
    assert found["actor_rollout_ref.model.path"] == folder_of("small_sft")
    parts = shared(found["+revseg.settings"], "not read")
    assert parts.codec.fps == 4.0
    wanted = replace(MODEL.resolved(), policy=parts.model.policy).to_dict()
    wanted["sampling"]["max_new_tokens"] = 77
    assert {**parts.model.to_dict(), "tracker": 0} == {**wanted, "tracker": 0}


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("rloo", "advantage is 'rloo'"),
        ("gspo", "policy_loss is 'gspo'"),
        ("dapo", "no dynamic_sampling=True"),
        ("grpo:kl=k1", "kl is 'k1'"),
        ("grpo:kl_place=reward", "no kl_place='reward'"),
        ("grpo:std_eps=0.1", "no std_eps=0.1"),
        ("grpo:delta=4", "no delta=4"),
    ],
)
def test_objectives_that_verl_does_not_have(spec: str, says: str) -> None:
    with pytest.raises(InputError, match=f"verl cannot follow objective='{spec}': .*{says}"):
        objective_options(spec)


def test_objectives_that_verl_has() -> None:
    found = objective_options("grpo:advantage=dr_grpo,aggregation=token_mean,dual_clip=3.0,beta=0.01")
    assert found["algorithm.norm_adv_by_std_in_grpo"] is False
    assert found[f"{ACTOR}.loss_agg_mode"] == "token-mean"
    assert found[f"{ACTOR}.clip_ratio_c"] == 3.0
    assert found[f"{ACTOR}.kl_loss_coef"] == 0.01
    assert objective_options("grpo")[f"{ACTOR}.clip_ratio_c"] == 1e9


def test_what_does_not_fit() -> None:
    with pytest.raises(InputError, match="3072 \\+ 3072 tokens does not fit max_tokens_per_forward=4096"):
        options(max_tokens_per_forward=4096)
    small = Machines(prompt_tokens=512, response_tokens=384)
    assert overrides(MODEL, TrainConfig(max_tokens_per_forward=4096), "r", "o", small)
    with pytest.raises(InputError, match="merge the adapter"):
        overrides(replace(MODEL, policy="hf:model=small_sft,adapter=x", plan=None), TrainConfig(), "r", "o")


def test_what_is_written() -> None:
    """As the shell and hydra's grammar have it."""
    found = {"a": True, "b": None, "c": [0.9, "x"], "d": {"image": 16}, "+e": json.dumps({"f": [1]}), "g": "/p/q-1.x"}
    assert written(found) == [
        "a=true",
        "b=null",
        "c=[0.9, x]",
        "d={image: 16}",
        '+e="{\\"f\\": [1]}"',
        "g=/p/q-1.x",
    ]
    assert shlex.split(command(found).replace("\\\n", ""))[3:] == written(found)


def test_the_command(tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text('[model]\npolicy = "hf:model=small_sft"\n[data]\ndataset = "shapes"\n[train]\nsteps = 3\n')
    arguments = ["verl-command", str(config), "--rows", "r.parquet", "--out", "o", "--gpus", "2", "--nodes", "4"]
    done = CliRunner().invoke(app, [*arguments, "--set", "train.lr=1e-5"])
    assert done.exit_code == 0, done.output
    words = shlex.split(done.stdout.replace("\\\n", ""))
    assert words[:3] == ["python3", "-m", "verl.trainer.main_ppo"]
    assert {"trainer.total_training_steps=3", f"{ACTOR}.optim.lr=1e-05", "trainer.nnodes=4"} <= set(words)
    assert f"{ROLLOUT}.agent.num_workers=8" in words
    refused = CliRunner().invoke(app, [*arguments, "--set", "train.lora_rank=8"])
    assert refused.exit_code == 3
    assert "verl cannot follow lora_rank=8" in refused.stderr
