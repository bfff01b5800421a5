"""`revseg train`: configuration files, overrides, exit codes and what is printed."""

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_qwen import save_tiny_qwen
from typer.testing import CliRunner

from revseg.cli.app import app
from revseg.cli.train import read_settings, reporting, summary
from revseg.errors import InputError, SpecError
from revseg.failures import Signature
from revseg.pipeline import ReVSeg
from revseg.training.config import TrainConfig

ROOT = Path(__file__).parent.parent
CONFIG = """
[model]
rounds = [["keyframe_terse:size=28", "training_world:found"], ["box_terse:size=28", "training_world:found"]]
num_frames = 4
[model.rewards]
format = 1.0
"training_world:length" = 0.5
[data]
dataset = "shapes:size=4,frames=4,height=32,width=32"
[train]
steps = 3
queries_per_step = 2
group_size = 2
max_new_tokens = 4
objective = "grpo:beta=0"
"""


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["train", *(str(a) for a in arguments)])


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(CONFIG)
    return path


def test_a_file_with_overrides_trains(config: Path, tmp_path: Path):
    policy = f"qwen:model={save_tiny_qwen(tmp_path / 'start')}"
    out = tmp_path / "out"
    done = run("--config", config, "--out", out, "--set", f"model.policy={policy}", "--set", "train.steps=2", "--json")
    assert done.exit_code == 0, done.output
    last = json.loads(done.stdout.splitlines()[-1])
    assert last.keys() == {"out", "policy", "steps", "reward"}
    assert last["policy"] == f"qwen:model={out}"
    assert last["steps"] == 2
    settings = json.loads((out / "train.json").read_text())
    assert settings["model"]["policy"] == policy
    assert settings["model"]["rewards"] == {"format": 1.0, "training_world:length": 0.5}
    assert settings["dataset"] == "shapes:size=4,frames=4,height=32,width=32"
    assert len((out / "log.jsonl").read_text().splitlines()) == 2
    again = run("--config", config, "--out", out, "--set", f"model.policy={policy}", "--set", "train.lr=1e-3")
    assert again.exit_code == 3
    assert "train.lr: 1e-06, now 0.001" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "match"),
    [
        (["--set", "train.lrr=1"], 3, "no setting 'lrr'"),
        (["--set", "train.lr=fast"], 3, "expected lr to be a number above 0, got 'fast'"),
        (["--set", "model.colour=red"], 3, "no setting 'colour'"),
        (["--set", "lr=1"], 2, "expected model|data|train.key=value"),
        (["--set", "train.lr"], 2, "expected model|data|train.key=value"),
        (["--set", "data.dataset=none_such"], 2, "unknown dataset"),
        (["--set", "data.size=3"], 3, "data has no setting 'size'"),
        (["--set", "train.steps.more=3"], 2, "has no parts"),
    ],
)
def test_wrong_settings(config: Path, tmp_path: Path, arguments: list[str], code: int, match: str):
    done = run("--config", config, "--out", tmp_path / "out", *arguments)
    assert done.exit_code == code, done.output
    assert match in done.stderr
    assert "Traceback" not in done.stderr


def test_files_that_cannot_be_read(tmp_path: Path):
    (tmp_path / "bad.toml").write_text("[train\n")
    (tmp_path / "odd.toml").write_text("[optimizer]\nlr = 1\n")
    (tmp_path / "empty.toml").write_text("")
    for name, match in (
        ("bad", "TOML"),
        ("odd", "unknown table 'optimizer'"),
        ("none", "No such"),
        ("empty", "no data"),
    ):
        done = run("--config", tmp_path / f"{name}.toml", "--out", tmp_path / "out")
        assert done.exit_code == 3
        assert match in done.stderr


def test_overrides_are_read_as_in_a_spec(config: Path):
    changes = [
        "train.lr=1e-5",
        "train.bf16=true",
        "train.objective=grpo:beta=0.1,kl=k2",
        "model.policy=qwen:model=a",
        "model.rewards.tests.mine:centre=0.5",
        "model.sampler=uniform",
    ]
    settings = read_settings(config, changes)
    assert settings["train"]["lr"] == 1e-5
    assert settings["train"]["bf16"] is True
    assert settings["train"]["objective"] == "grpo:beta=0.1,kl=k2"
    assert settings["model"]["policy"] == "qwen:model=a"
    assert settings["model"]["rewards"]["tests.mine:centre"] == 0.5
    whole = read_settings(config, ['model.rewards={"format": 2}', "model.rewards.format=3"])
    assert whole["model"]["rewards"] == {"format": 3}
    with pytest.raises(SpecError, match="has no parts"):
        read_settings(config, ["model.policy=qwen", "model.policy.model=a"])
    with pytest.raises(InputError, match="no dataset"):
        read_settings(None, [])


def test_the_example_is_a_configuration():
    settings = read_settings(ROOT / "benchmarks" / "configs" / "shapes_grpo.toml", [])
    assert ReVSeg.from_dict(settings["model"]).rewards == {"format": 1, "temporal": 1, "spatial": 1}
    train = TrainConfig.from_dict(settings["train"])
    assert (train.lr, train.lr_decay, train.freeze_vision) == (8e-5, True, True)


def test_warnings_are_told_once(capsys: pytest.CaptureFixture[str]):
    row = {"reward": 1.5, "reward/format": 0.97, "reward/spatial": 0.2}
    with reporting(5, show=False) as report:
        for step in range(3):
            flat = Signature("no signal", True, "", {"flat_groups": 0.9 + step / 100}, "raise temperature")
            report(
                {**row, "step": step, "warnings": [flat, Signature("format low", True, "", {"format": 0.4}, "look")]}
            )
    assert capsys.readouterr().err.splitlines() == [
        "step 0: no signal (flat_groups 0.90): raise temperature",
        "step 0: format low (format 0.40): look",
    ]
    assert summary(row) == "reward 1.50 (format 0.97, spatial 0.20)"
