"""The checkpoints that come with the library: named, loaded and digested alike."""

from pathlib import Path

import pytest
from parts import built

from revseg.evaluation.manifest import files_of
from revseg.policies.checkpoints import DEFAULT, folder_of, named
from revseg.shapes.checkpoints import ASSETS

NAMES = sorted(folder.name for folder in ASSETS.iterdir() if folder.is_dir())


@pytest.mark.parametrize("name", NAMES)
def test_each_is_built_by_its_name_and_says_what_it_was_taught(name: str):
    policy = built("policy", f"qwen:model={name}")
    assert sorted(policy.defaults) == ["num_frames", "rounds", "sampler"]
    assert list(files_of({"policy": f"qwen:model={name}"})) == [f"checkpoint {name}"]


def test_the_default_is_one_of_them():
    assert DEFAULT in NAMES
    assert folder_of(None) == folder_of(DEFAULT) == str(ASSETS / DEFAULT)
    assert files_of({"policy": "qwen"}) == files_of({"policy": f"qwen:model={DEFAULT}"})


@pytest.mark.parametrize("model", ["Qwen/Qwen2.5-VL-7B-Instruct", f"./{DEFAULT}", "../assets", "..", "", "unknown"])
def test_other_models_are_not_taken_for_one(model: str):
    assert named(model) is None


def test_together_they_stay_small():
    assert sum(file.stat().st_size for file in Path(ASSETS).rglob("*.safetensors")) < 16e6
