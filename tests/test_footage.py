"""The bundled policy is never the silent answer about videos that it cannot know; names of models are recognised."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import revseg
from revseg.cli.app import app
from revseg.errors import FootageWarning, SpecError
from revseg.policies.checkpoints import checkpoint_of, warn_of_footage
from revseg.video import Video

REAL = "qwen:model=Qwen/Qwen2.5-VL-7B-Instruct"
WORLD = "shapes:size=1,frames=4,height=32,width=32"


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def clip(make_video: Callable[..., Path]) -> Path:
    return make_video("footage.mp4", 6)


def test_segment_needs_a_policy_or_a_box(clip: Path, tmp_path: Path):
    done = run("segment", clip, "the dog", "--out", tmp_path / "o")
    assert done.exit_code == 2
    assert f"--policy {REAL}" in done.stderr
    assert "--box with --keyframe" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("dataset", ["mevis:root=none", "folder:root=none", "mine.py:world"])
def test_evaluate_needs_a_policy_for_all_but_shapes(tmp_path: Path, dataset: str):
    done = run("evaluate", dataset, "--out", tmp_path / "o.jsonl")
    assert done.exit_code == 2
    assert f"--policy {REAL}" in done.stderr
    assert "--box" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_misspelt_dataset_is_said_first(tmp_path: Path):
    assert "Did you mean 'shapes'" in run("evaluate", "shape", "--out", tmp_path / "o").stderr


def test_a_missing_root_is_asked_for_by_its_flag(tmp_path: Path):
    done = run("evaluate", "mevis", "--out", tmp_path / "o", "--policy", "random")
    assert done.exit_code == 2
    assert "--root" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["segment", "https://x.test/v.mp4", "x", "--out", "{o}", "--policy", "random"], 3, "download the video first"),
        (["segment", "{clip}", "x", "--out", "{taken}", "--policy", "random"], 3, "--overwrite"),
        (["score", "{taken}"], 3, "is a folder; expected a results file"),
    ],
)
def test_mistakes_of_a_newcomer_end_in_one_sentence(clip: Path, tmp_path: Path, words: list[str], code: int, said: str):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/masks.json").write_text("{}")
    places = {"clip": clip, "o": tmp_path / "o", "taken": tmp_path / "taken"}
    done = run(*(word.format(**places) for word in words))
    assert done.exit_code == code
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_evaluate_takes_the_bundled_policy_on_shapes(tmp_path: Path):
    done = run("evaluate", WORLD, "--out", tmp_path / "o.jsonl", "--limit", 0, "--json")
    assert done.exit_code == 0, done.output
    assert revseg.evaluation.Results.open(tmp_path / "o.jsonl").header["spec"]["policy"] == "qwen"


@pytest.mark.filterwarnings("default::revseg.errors.FootageWarning")
def test_a_bundled_policy_asked_for_by_name_is_used_with_one_line_of_warning(clip: Path, tmp_path: Path):
    words = ["segment", clip, "the dog", "--out", tmp_path / "o", "--tracker", "fill_box", "--policy"]
    done = run(*words, "qwen:model=small_sft")
    assert done.exit_code in (0, 4), done.output  # whatever it says
    warned = [line for line in done.stderr.splitlines() if line.startswith("revseg:")]
    assert warned[0].startswith("revseg: warning: the bundled policy qwen:model=small_sft knows only the synthetic")
    assert len(warned) == 1
    assert (tmp_path / "o" / "masks.json").is_file()


@pytest.mark.parametrize(
    ("policy", "small"),
    [
        ("qwen", True),
        ("qwen:dtype=float32", True),
        ("qwen:model=small_mixed", True),
        ({"name": "qwen"}, True),
        ({"name": "qwen", "model": "small_grpo"}, True),
        (REAL, False),
        ("qwen:model=./small_grpo", False),
        ("qwen:adapter=mine", False),
        ("random", False),
        ("openai:model=small_sft", False),
        (lambda: None, False),
        ({"policy": "qwen"}, False),
        ("qwen:model=7", False),
    ],
)
def test_which_policies_know_only_the_world(policy: Any, small: bool):
    assert (checkpoint_of(policy) is not None) is small


def test_python_warns_of_other_videos_and_not_of_the_world():
    painted = revseg.build("dataset", WORLD)[0].video
    other = Video.open(np.zeros((4, 32, 32, 3), np.uint8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_footage("qwen", [painted])
        warn_of_footage("random", [other])
        warn_of_footage("qwen", [])
    with pytest.warns(FootageWarning, match="knows only the synthetic world"):
        warn_of_footage("qwen", [painted, other])


def test_a_model_of_the_pipeline_warns():
    model = revseg.ReVSeg(tracker="fill_box")
    vars(model)["built_policy"] = revseg.build("policy", "random")  # what answers does not matter here
    with pytest.warns(FootageWarning, match=REAL):
        model.rollout(np.zeros((4, 32, 32, 3), np.uint8), "the dog")


@pytest.mark.parametrize(
    ("kind", "spec", "meant"),
    [
        ("policy", "Qwen/Qwen2.5-VL-7B-Instruct", REAL),
        ("policy", "Qwen/Qwen2.5-VL-7B-Instruct:dtype=float32", REAL),
        ("policy", "qwen:Qwen/Qwen2.5-VL-7B-Instruct", REAL),
        ("policy", {"name": "some/model"}, "qwen:model=some/model"),
        ("policy", "./folder", "qwen:model=./folder"),
        ("policy", "/models/qwen", "qwen:model=/models/qwen"),
        ("policy", "~/models/qwen", "qwen:model=~/models/qwen"),
        ("policy", "small_sft", "qwen:model=small_sft"),
        ("policy", "http://localhost:8000/v1", "openai:model=NAME,base_url=http://localhost:8000/v1"),
        ("policy", "mine.py", "mine.py:NAME"),
        ("tracker", "facebook/sam2.1-hiera-large", "sam2:model=facebook/sam2.1-hiera-large"),
        ("tracker", "sam2:facebook/sam2.1-hiera-large", "sam2:model=facebook/sam2.1-hiera-large"),
        ("tracker", "sam2_hf:facebook/sam2.1-hiera-large", "sam2_hf:model=facebook/sam2.1-hiera-large"),
        ("tracker", "sam2.1_hiera_large.pt", "sam2:model=sam2.1_hiera_large.pt"),
        ("dataset", "data/mevis", "NAME:root=data/mevis"),
        ("tracker", "./folder:x", "package.module:name"),
    ],
)
def test_a_models_name_is_answered_with_the_spec_that_loads_it(kind: str, spec: Any, meant: str):
    with pytest.raises(SpecError) as error:
        revseg.build(kind, spec)
    assert meant in str(error.value)


def test_a_folder_here_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "trained").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match="Did you mean qwen:model=trained"):
        revseg.build("policy", "trained")
    with pytest.raises(SpecError, match="unknown reward: 'trained'"):
        revseg.build("reward", "trained")
