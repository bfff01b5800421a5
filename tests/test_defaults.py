"""What a policy was taught is read from its folder, or from the hub, without loading weights."""

from pathlib import Path
from typing import Any

import pytest
from test_codecs import without_weights
from test_qwen import TERSE
from tiny_qwen import save_tiny_qwen

import revseg
from revseg.errors import InputError, SpecError
from revseg.policies.hf.policy import HFPolicy
from revseg.testing import moving_squares
from revseg.types import Query


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_qwen(tmp_path_factory.mktemp("tiny"), defaults={"num_frames": 4, "plan": TERSE})


@pytest.fixture
def sentinel(folder: str, tmp_path: Path) -> str:
    """A folder whose weights, were they read, would be an error."""
    where = without_weights(folder, tmp_path / "sentinel")
    Path(where, "model.safetensors").write_text("not to be read")
    return where


@pytest.mark.parametrize("name", ["hf", "qwen"])
def test_resolving_loads_no_weights(name: str, sentinel: str) -> None:
    model = revseg.ReVSeg(f"{name}:model={sentinel}")
    found = model.resolved()
    assert (found.num_frames, found.sampler, found.plan) == (4, "uniform", TERSE)
    assert model.built_plan
    assert model.clip(moving_squares().video, Query("q", "x")).frame_ids.shape == (4,)
    with pytest.raises(InputError, match="cut short or damaged"):
        _ = model.built_policy


def test_the_manifest_needs_no_weights(sentinel: str) -> None:
    from revseg.evaluation.manifest import make_header

    data = revseg.build("dataset", "shapes:size=1")
    header = make_header(revseg.ReVSeg(f"qwen:model={sentinel}"), "shapes:size=1", data, 1)
    assert header["spec"]["num_frames"] == 4
    assert sentinel in header["files"]


def test_resolving_a_model_whose_options_are_wrong_names_them(sentinel: str) -> None:
    for options, match in (("modle", "unknown option"), ("fps=fast,model", "expected fps of type float")):
        with pytest.raises(SpecError, match=match):
            revseg.ReVSeg(f"qwen:{options}={sentinel}").resolved()


def test_the_adapters_file_counts_where_the_model_has_none(folder: str, sentinel: str, tmp_path: Path) -> None:
    Path(sentinel, "revseg.json").unlink()
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "revseg.json").write_text('{"num_frames": 7}')
    options = {"model": sentinel, "adapter": str(tmp_path / "adapter")}
    assert HFPolicy.defaults_of(options) == {"num_frames": 7}
    assert HFPolicy.defaults_of({**options, "model": folder})["num_frames"] == 4
    assert HFPolicy.defaults_of({"model": sentinel}) == {}


def test_a_policy_without_defaults_of_is_built_for_them() -> None:
    model = revseg.ReVSeg({"name": "given", "keyframe": [3], "box": [0, 0, 1, 1]})
    assert model.resolved().sampler == "at:frames=[3]"


def test_defaults_that_training_changed_are_the_policys_own(folder: str) -> None:
    model = revseg.ReVSeg(f"qwen:model={folder}")
    assert model.resolved().num_frames == 4
    model.built_policy.defaults = {"num_frames": 9}  # type: ignore[attr-defined]
    assert model.resolved().num_frames == 9


# of the hub


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The snapshot of some/model in a cache of the hub that cannot be reached."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    home = tmp_path / "hub" / "models--some--model"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text("0" * 40)
    (home / "snapshots" / ("0" * 40)).mkdir(parents=True)
    return home / "snapshots" / ("0" * 40)


def test_a_hub_name_is_read_from_the_cache(cache: Path) -> None:
    (cache / "config.json").write_text("{}")
    assert revseg.ReVSeg("hf:model=some/model").resolved().num_frames == 16  # it was taught nothing
    (cache / "revseg.json").write_text('{"num_frames": 5}')
    assert revseg.ReVSeg("hf:model=some/model").resolved().num_frames == 5
    (cache / "revseg.json").write_text('{"num_frames": ')
    with pytest.raises(InputError, match=r"revseg\.json"):
        revseg.ReVSeg("hf:model=some/model").resolved()


def test_a_hub_name_that_cannot_be_had_is_an_error(cache: Path) -> None:
    with pytest.raises(InputError, match=r"there is no folder 'some/other' here, and the hub gives no model"):
        revseg.ReVSeg("hf:model=some/other").resolved()


def test_of_the_hub_only_the_files_needed_are_fetched(monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    import huggingface_hub

    asked: list[Any] = []

    def fetch(name: str, **options: Any) -> str:
        asked.append((name, options["allow_patterns"]))
        return folder

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    model = revseg.ReVSeg("hf:model=some/model")
    assert model.resolved().num_frames == model.replace(tracker="oracle").resolved().num_frames == 4
    assert asked == [("some/model", ["revseg.json"]), ("some/model", ["config.json"])]
