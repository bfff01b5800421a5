"""Averages of policies: the mean itself, what cannot be averaged, and the folder that comes of it."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from parts import built

from revseg.errors import InputError, OutputError
from revseg.training.average import average
from tests.tiny_qwen import save_tiny_qwen

TAUGHT = {"plan": [["box_terse", "box_json"]], "sampler": "uniform", "num_frames": 4}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    specs = (
        save_tiny_qwen(tmp_path_factory.mktemp(name), seed=seed, defaults=TAUGHT) for seed, name in enumerate("ab")
    )
    a, b = (f"qwen:model={folder}" for folder in specs)
    return a, b


def weights(spec: str) -> dict[str, torch.Tensor]:
    return built("policy", spec).model.state_dict()


@pytest.mark.parametrize(("shares", "of_a"), [((1, 1), 0.5), ((3, 1), 0.75), ((0.2, 0.6), 0.25)])
def test_every_weight_is_the_weighted_mean(two: tuple[str, str], tmp_path: Path, shares: tuple, of_a: float):
    spec = average(dict(zip(two, shares, strict=True)), tmp_path / "mean")
    a, b, mean = (weights(s) for s in (*two, spec))
    assert mean.keys() == a.keys()
    assert any(not torch.equal(a[name], b[name]) for name in a)
    for name, value in mean.items():
        torch.testing.assert_close(value, of_a * a[name] + (1 - of_a) * b[name], rtol=1e-6, atol=1e-8)


def test_a_mean_of_one_is_itself_and_keeps_what_it_was_taught(two: tuple[str, str], tmp_path: Path):
    spec = average({two[0]: 7}, tmp_path / "mean")
    assert spec == f"qwen:model={tmp_path / 'mean'}"
    a, mean = weights(two[0]), weights(spec)
    assert all(torch.equal(a[name], mean[name]) for name in a)
    assert json.loads((tmp_path / "mean" / "revseg.json").read_text()) == TAUGHT


def test_three_are_averaged_at_once(two: tuple[str, str], tmp_path: Path):
    third = "qwen:model=" + save_tiny_qwen(tmp_path / "c", seed=2, defaults=TAUGHT)
    spec = average({**dict.fromkeys(two, 1), third: 2}, tmp_path / "mean")
    a, b, c, mean = (weights(s) for s in (*two, third, spec))
    for name, value in mean.items():
        torch.testing.assert_close(value, (a[name] + b[name]) / 4 + c[name] / 2, rtol=1e-6, atol=1e-8)


def test_policies_that_were_taught_otherwise_are_refused(two: tuple[str, str], tmp_path: Path):
    other = save_tiny_qwen(tmp_path / "c", defaults={**TAUGHT, "num_frames": 8})
    with pytest.raises(InputError, match="they were taught"):
        average({two[0]: 1, f"qwen:model={other}": 1}, tmp_path / "mean")


def test_other_shapes_are_refused(two: tuple[str, str], tmp_path: Path):
    with pytest.raises(InputError, match="has shape"):
        average({two[0]: 1, "qwen:model=small_sft": 1}, tmp_path / "mean")


def test_policies_without_weights_of_their_own_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="weights of its own"):
        average({"random": 1}, tmp_path / "mean")


@pytest.mark.parametrize("shares", [{}, {"qwen": 0}, {"qwen": 1, "random": -1}])
def test_shares_must_be_positive(shares: dict[str, float], tmp_path: Path):
    with pytest.raises(InputError, match="shares must be above 0"):
        average(shares, tmp_path / "mean")


def test_a_folder_with_a_model_is_left_alone(two: tuple[str, str], tmp_path: Path):
    folder = tmp_path / "b"
    shutil.copytree(two[1].removeprefix("qwen:model="), folder)
    before = (folder / "model.safetensors").read_bytes()
    with pytest.raises(InputError, match="holds a model"):
        average(dict.fromkeys(two, 1.0), folder)
    assert (folder / "model.safetensors").read_bytes() == before


def test_a_place_that_cannot_be_written_is_an_error(two: tuple[str, str], tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        average(dict.fromkeys(two, 1.0), tmp_path / "file" / "mean")
