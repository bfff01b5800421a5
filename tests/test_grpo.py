"""The training loop on a tiny random model: it learns, it goes on where it stopped, and it says what is wrong."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_qwen import save_tiny_qwen
from training_world import ONE, REWARDS, THREE, TWO, config, samples, tiny

import revseg
from revseg.errors import InputError, MissingExtraError, OutputError, SpecError
from revseg.objectives import Objective
from revseg.policies.hf.policy import HFPolicy
from revseg.training import grpo
from revseg.training.log import read_log


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_qwen(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def finished(folder: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four steps, not stopped."""
    out = tmp_path_factory.mktemp("run") / "whole"
    revseg.train(tiny(folder), samples(), out, config())
    return out


def rows(out: Path) -> list[dict[str, Any]]:
    """The log but for its clocks."""
    return [{k: v for k, v in row.items() if "seconds" not in k} for row in read_log(out / "log.jsonl")]


def weights(out: Path | str) -> dict[str, torch.Tensor]:
    return load_file(Path(out, "model.safetensors"))


def same(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_custom_reward_rises(folder: str, tmp_path: Path, seed: int):
    model = tiny(folder, plan=ONE, rewards={"training_world:length": 1.0})
    settings = config(steps=10, group_size=16, lr=2e-2, save_every=10, objective="grpo:beta=0", seed=seed)
    revseg.train(model, samples(), tmp_path / "out", settings)
    rewards = [row["reward"] for row in rows(tmp_path / "out")]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.1, rewards


@pytest.mark.parametrize("last", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_killed_and_started_again_ends_with_the_same_weights(folder: str, finished: Path, tmp_path: Path, last: int):
    """Killed before the first checkpoint, and between two: the rows of lost steps are drawn and written again."""

    def kill(row: Mapping[str, Any]) -> None:
        if row["step"] == last:
            raise Killed

    with pytest.raises(Killed):
        revseg.train(tiny(folder), samples(), tmp_path, config(), report=kill)
    assert len(rows(tmp_path)) == last + 1
    steps = []
    revseg.train(tiny(folder), samples(), tmp_path, config(), report=lambda row: steps.append(row["step"]))
    assert steps == list(range(last // 2 * 2, 4))
    assert same(weights(finished), weights(tmp_path))
    assert rows(finished) == rows(tmp_path)
    assert (finished / "samples.jsonl").read_text() == (tmp_path / "samples.jsonl").read_text()
    assert not same(weights(finished), weights(folder))


def test_what_a_run_logs(finished: Path):
    log = rows(finished)
    assert [row["step"] for row in log] == [0, 1, 2, 3]
    for row in log:
        assert abs(row["ratio"] - 1) < 1e-4, "rollouts and the training forward are of one policy"
        assert row["reward"] == pytest.approx(
            row["reward/training_world:length"] + 0.5 * row["reward/training_world:vowels"]
        )
        assert row["grad_norm"] > 0
        assert row["failed/round 1: odd"] > 0
        assert 1 < row["turns"] < 2
        assert 0 < row["entropy"] < math.log(2000)
    assert log[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert log[3]["kl"] > 1e-6
    read = [json.loads(line) for line in (finished / "samples.jsonl").read_text().splitlines()]
    assert {row["step"] for row in read} == {0, 2}
    assert set(read[0]) == {"step", "query", "replies", "error", "rewards", "total"}


def test_the_result_loads_with_what_it_was_taught(folder: str, finished: Path):
    policy = f"qwen:model={finished}"
    assert revseg.train(tiny(folder), samples(), finished, config()).policy == policy
    with pytest.raises(SpecError, match=r"training_world:picky.*trust=True"):  # a parser of one's own
        revseg.ReVSeg(policy=policy).resolved()
    model = revseg.ReVSeg(policy=policy, rewards=REWARDS, trust=True)
    taught = model.resolved()
    assert taught.num_frames == 4
    assert taught.plan == TWO
    model.rollout(samples()[0].video, "red")
    settings = json.loads((finished / "train.json").read_text())
    assert settings["train"] == config().to_dict()
    assert settings["dataset"] == "list of 5 samples"


def test_the_model_handed_over_stays_as_it_is(folder: str, tmp_path: Path):
    model = tiny(folder)
    before = {n: p.clone() for n, p in model.built_policy.model.named_parameters()}  # pyright: ignore
    revseg.train(model, samples(), tmp_path, config(steps=1))
    assert all(torch.equal(p, before[n]) for n, p in model.built_policy.model.named_parameters())  # pyright: ignore


@pytest.mark.parametrize("plan", [ONE, THREE])
def test_other_plans_go_through_the_same_loop(folder: str, tmp_path: Path, plan: Any):
    revseg.train(tiny(folder, plan=plan), samples(), tmp_path, config(steps=1))
    (row,) = rows(tmp_path)
    assert row["turns"] == 1 if plan is ONE else row["turns"] > 1
    assert abs(row["ratio"] - 1) < 1e-4
    assert row["grad_norm"] > 0


def test_lora_moves_adapters_alone_and_saves_both_ways(folder: str, tmp_path: Path):
    settings = config(steps=2, lora_rank=2, optimizer="muon", gradient_checkpointing=True)
    model = revseg.train(tiny(folder), samples(), tmp_path, settings)
    held = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["model"]
    assert held
    assert all("lora_" in name for name in held)
    base, merged = weights(folder), weights(tmp_path)
    moved = {name for name in base if not torch.equal(base[name], merged[name])}
    assert moved
    assert all("proj" in name and "visual" not in name for name in moved)
    alone = tiny(folder).replace(policy=f"qwen:model={folder},adapter={tmp_path / 'adapter'}")
    expected = [row.detach() for row in scores(model)]
    torch.testing.assert_close([row.detach() for row in scores(alone)], expected, atol=1e-4, rtol=0)
    with pytest.raises(InputError, match="adapters already"):
        revseg.train(alone, samples(), tmp_path / "more", config(lora_rank=2))


def scores(model: revseg.ReVSeg) -> list[torch.Tensor]:
    policy: Any = model.built_policy
    (group,) = model.replace(sampling=revseg.Sampling(max_new_tokens=4)).rollouts(samples(1), 2)
    return policy.logprobs(group)


def test_a_frozen_vision_tower_stays(folder: str, tmp_path: Path):
    revseg.train(tiny(folder), samples(), tmp_path, config(steps=1, freeze_vision=True))
    before, after = weights(folder), weights(tmp_path)
    seeing = [torch.equal(before[name], after[name]) for name in before if "visual" in name]
    speaking = [torch.equal(before[name], after[name]) for name in before if "visual" not in name]
    assert all(seeing)
    assert not any(speaking)


def test_bf16_rolls_out_and_trains_under_the_same_autocast(folder: str, tmp_path: Path):
    revseg.train(tiny(folder), samples(), tmp_path, config(steps=2, bf16=True))
    for row in rows(tmp_path):
        assert abs(row["ratio"] - 1) < 0.05
    assert rows(tmp_path)[0]["kl"] < 1e-3
    assert all(value.dtype == torch.float32 for value in weights(tmp_path).values())


def test_without_a_kl_no_reference_is_kept(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(grpo, "reference_of", None)
    monkeypatch.setattr(HFPolicy, "with_model", None)
    revseg.train(tiny(folder), samples(), tmp_path, config(steps=1, objective="dr_grpo"))
    assert "kl" not in rows(tmp_path)[0]


def test_a_nan_gradient_is_left_out_and_named(folder: str, tmp_path: Path):
    def broken(new: Any, old: Any, advantages: Any, mask: Any) -> Any:
        return new * math.inf, torch.zeros_like(mask)

    objective = Objective(policy_loss=broken, beta=0.0)
    seen = []
    revseg.train(tiny(folder), samples(), tmp_path, config(steps=1, objective=objective), report=seen.append)
    (warning,) = seen[0]["warnings"]
    assert (warning.kind, warning.rows) == ("not finite", (0,))
    assert "grad_norm" in warning.evidence["columns"]
    assert "is left out" in warning.advice
    assert read_log(tmp_path / "log.jsonl")[0]["warnings"] == [warning]
    assert same(weights(folder), weights(tmp_path))
    assert json.loads((tmp_path / "log.jsonl").read_text())["grad_norm"] is None


class Untrainable:
    def reply(self, rollouts: Any, prompts: Any, *, sampling: Any) -> Any:
        raise AssertionError("no work before the check")


@pytest.mark.parametrize(
    ("changes", "data", "settings", "error", "match"),
    [
        ({"policy": Untrainable()}, samples(1), {}, InputError, "Untrainable cannot be trained: it has no model, logp"),
        ({}, samples(1, truth=False), {}, InputError, "'q0' has no truth"),
        ({}, [], {}, InputError, "empty"),
        ({}, samples(1), {"objective": "nothing"}, revseg.errors.SpecError, "unknown objective"),
        ({}, samples(1), {"objective": Untrainable()}, InputError, "has no advantages, loss"),
        ({}, samples(1), {"log_with": "wandb"}, MissingExtraError, "pip install wandb"),
    ],
)
def test_what_cannot_work_is_said_before_work(
    folder: str, tmp_path: Path, changes: Any, data: Any, settings: Any, error: Any, match: str
):
    with pytest.raises(error, match=match):
        revseg.train(tiny(folder).replace(**changes), data, tmp_path / "out", config(**settings))
    assert not (tmp_path / "out" / "log.jsonl").exists()


def test_half_precision_weights_are_refused(folder: str, tmp_path: Path):
    """AdamW's step of 1e-6 on a bfloat16 weight of 0.02 is rounded away."""
    model = tiny(folder).replace(policy=f"qwen:model={folder},dtype=bfloat16")
    with pytest.raises(InputError, match=r"torch.bfloat16.*dtype=float32"):
        revseg.train(model, samples(), tmp_path / "out", config())
    revseg.train(model, samples(), tmp_path / "lora", config(steps=1, lora_rank=2))


def test_folders_that_cannot_be_used(folder: str, finished: Path, tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot write into"):
        revseg.train(tiny(folder), samples(), tmp_path / "file" / "out", config())
    with pytest.raises(InputError, match=r"other settings \(train.lr: 0.01, now 0.02\)"):
        revseg.train(tiny(folder), samples(), finished, config(lr=0.02))
    with pytest.raises(InputError, match="list of 5 samples, now list of 4 samples"):
        revseg.train(tiny(folder), samples(4), finished, config())
    with pytest.raises(InputError, match="holds a model"):
        revseg.train(tiny(folder), samples(), folder, config())


def test_a_full_disk_leaves_the_last_checkpoint(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(state: Any, file: Any) -> None:
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    def fill(row: Mapping[str, Any]) -> None:
        if row["step"] == 2:
            monkeypatch.setattr(torch, "save", full)

    with pytest.raises(OutputError, match=r"No space left.*still there"):
        revseg.train(tiny(folder), samples(), tmp_path, config(), report=fill)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 2
    assert not list(tmp_path.glob(".*part*"))


@pytest.mark.slow
def test_two_processes_give_the_gradient_of_one(folder: str, tmp_path: Path):
    """Under torchrun with gloo: the gradient of the first step, the log, and an end without a hang."""
    tests = Path(__file__).parent
    script = str(tests / "run_two_processes.py")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests.parent), str(tests)]), "OMP_NUM_THREADS": "1"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    two = subprocess.Popen([*torchrun, script, folder, str(tmp_path / "two")], env=environment)
    one = subprocess.Popen([sys.executable, script, folder, str(tmp_path / "one")], env=environment)
    assert one.wait() == 0
    assert two.wait() == 0
    assert [(tmp_path / "two" / f"left.{rank}").exists() for rank in (0, 1)] == [True, True]  # else gloo may abort
    grads = [torch.load(tmp_path / name / "grads.pt", weights_only=True) for name in ("one", "two")]
    torch.testing.assert_close(grads[1], grads[0], atol=1e-5, rtol=1e-4)
    first, second = (rows(tmp_path / name)[0] for name in ("one", "two"))
    assert first.keys() == second.keys()
    assert second == pytest.approx(first, abs=1e-5)
