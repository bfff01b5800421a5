"""`revseg train --dry-run`: the run worked out by hand, without weights and without a trace on the disk."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parts import built
from test_memory import write_config
from tiny_qwen import save_tiny_qwen
from training_world import TWO, config, samples, tiny
from typer.testing import CliRunner

import revseg
from revseg.cli.app import app
from revseg.errors import InputError
from revseg.policies.hf.policy import HFPolicy
from revseg.training import dry_run as module
from revseg.training.dry_run import dry_run, plan_text
from revseg.types import Message, Rollout, Sampling

WORLD = "shapes:size=5,frames=6,height=32,width=32"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_qwen(tmp_path_factory.mktemp("tiny")))


def test_by_hand(folder: str):
    """Round 1 shows 4 frames at 56 pixels: 2 x 2 x 2 tokens; round 2 one at 28: 1 token; at most 40 of replies."""
    model = tiny(folder, plan=(("keyframe_terse:size=56", TWO[1][1]), TWO[1]))
    plan = config(steps=10, queries_per_step=2, group_size=3, max_new_tokens=20, max_tokens_per_forward=250)
    found = dry_run(model, samples(5), plan)
    assert (found["queries"], found["steps_per_epoch"], found["epochs"]) == (5, 2.5, 4.0)
    assert (found["conversations_per_step"], found["conversations_at_a_time"]) == (6, 6)
    tokens = found["tokens"]
    assert (tokens["pictures"], tokens["rounds"], tokens["reply_limit"]) == (9, 2, 20)
    assert tokens["most"] == 9 + tokens["text"] + 40
    assert found["forwards_per_update"] == -(-6 // (250 // tokens["most"]))
    assert found["reference"] == "copy"
    assert set(found["memory"]["gpu_gb"]) == {"weights", "gradients", "adamw's moments", "reference"}
    assert found["memory"]["fits"]
    assert found["unknown"] == []


def test_the_codec_counts_what_the_model_reads(folder: str):
    """The longest of the conversations, counted by the built policy."""
    data = samples(5)
    found = dry_run(tiny(folder), data, config())
    oracle = tiny(folder).resolved().replace(policy="oracle")
    rollouts = [group[0] for group in oracle.rollouts(data)]
    policy = built("policy", f"qwen:model={folder}")
    counts = HFPolicy.count_tokens({"model": folder}, rollouts)
    assert [c.pictures + c.text + c.replies for c in counts] == [policy.length(rollout) for rollout in rollouts]
    assert found["tokens"]["text"] == max(c.text for c in counts)


def test_groups_at_a_time_are_those_of_training(folder: str, monkeypatch: pytest.MonkeyPatch):
    """Seven rows for groups of three: two groups."""
    model = tiny(folder).replace(policy=f"qwen:model={folder},batch_size=7")
    plan = config(queries_per_step=5, steps=1)
    assert dry_run(model, samples(5), plan)["conversations_at_a_time"] == 6
    asked: list[int] = []
    reply = HFPolicy.reply

    def watched(self: Any, rollouts: list[Rollout], prompts: list[Message], *, sampling: Sampling) -> Any:
        asked.append(len(rollouts))
        return reply(self, rollouts, prompts, sampling=sampling)

    monkeypatch.setattr(HFPolicy, "reply", watched)
    from accelerate import Accelerator

    from revseg.training.grpo import judge

    judge(model.replace(sampling=plan.sampling), samples(5), plan, 0, Accelerator(cpu=True))
    assert max(asked) == 6


def test_a_model_that_belongs_to_an_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The 7B without any weights or processor on the disk: 8.292 billion weights of 20 bytes."""
    model = revseg.ReVSeg(policy=f"qwen:model={write_config(tmp_path / 'seven', '7B')}", num_frames=4)
    monkeypatch.setattr(module, "free_memory", lambda device, spread: ("cuda:0", 85e9))
    found = dry_run(model, WORLD, revseg.TrainConfig(), 8)
    assert found["memory"]["weights"] == 8_292_166_656
    assert sum(found["memory"]["gpu_gb"].values()) == pytest.approx(165.84, abs=0.01)
    assert found["memory"]["gpu_gb"]["weights"] == pytest.approx(33.17, abs=0.01)
    assert found["tokens"] is None
    assert found["conversations_at_a_time"] == 64
    text = plan_text(found)
    assert "GB on each GPU before any activation: 166 (weights 33.2, gradients 33.2, adamw's moments 66.3" in text
    assert "cuda:0 has 85.0 GB free: does not fit; a model that no GPU holds whole belongs to an engine" in text
    assert "tokens: " in text.splitlines()[-1]
    lora = dry_run(model, WORLD, revseg.TrainConfig(lora_rank=16), 8)
    assert lora["memory"]["fits"]
    assert lora["reference"] == "adapter"


def test_shares_that_do_not_divide_are_refused(folder: str):
    with pytest.raises(InputError, match="queries_per_step=2 must divide among 3"):
        dry_run(tiny(folder), samples(5), config(), 3)
    with pytest.raises(InputError, match="no truth"):
        dry_run(tiny(folder), samples(5, truth=False), config())
    with pytest.raises(InputError, match="empty"):
        dry_run(tiny(folder), [], config())


def test_policies_that_tell_nothing():
    found = dry_run(revseg.ReVSeg(policy="random", num_frames=4), WORLD, config())
    assert found["tokens"] is found["memory"] is None
    assert plan_text(found).splitlines()[-2:] == found["unknown"]
    assert np.isclose(found["steps_per_epoch"], 2.5)


def test_the_command(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = tmp_path / "out"
    words = ["train", "--out", str(out), "--dry-run", "--set", f"model.policy=qwen:model={folder}"]
    words += ["--set", f"data.dataset={WORLD}", "--set", "train.queries_per_step=4", "--set", "model.num_frames=4"]
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "32 conversations in 2 process(es)" in done.stdout
    assert "1.2 per epoch" in done.stdout
    assert "fits" in done.stdout
    found = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert found["processes"] == 2
    assert not out.exists()
