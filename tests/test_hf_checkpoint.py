"""Which checkpoints `sam2_hf`, `sam3` and `edgetam` read, and the sentence for those that they refuse."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from parts import built
from tiny_sam2 import hf_processor, save_tiny_sam2_hf
from tiny_sam3 import HAS_SAM3, SAM3_SIZE, save_tiny_edgetam, save_tiny_sam3

import revseg
from revseg.errors import InputError
from revseg.trackers.hf_checkpoint import FirstUse
from revseg.trackers.sam2_hf import EdgeTamTracker, Sam2HfTracker, Sam3Tracker
from revseg.types import Grounding
from revseg.video import Video


def edit(folder: Path, change: Callable[[dict], Any]) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def test_the_model_type_chooses_the_network(tmp_path: Path) -> None:
    """Not the tracker's name: any of the three reads the checkpoints of all."""
    saved = {"Sam2VideoModel": save_tiny_sam2_hf, "EdgeTamVideoModel": save_tiny_edgetam}
    saved |= {"Sam3TrackerVideoModel": save_tiny_sam3} if HAS_SAM3 else {}
    for wanted, save in saved.items():
        save(tmp_path / wanted)
        assert type(built("tracker", f"sam2_hf:model={tmp_path / wanted}")._model.net).__name__ == wanted


@pytest.mark.skipif(not HAS_SAM3, reason="transformers is too old for SAM 3")
def test_the_tracker_alone_is_read_as_the_tracker_in_the_whole_model(tmp_path: Path) -> None:
    save_tiny_sam3(tmp_path / "whole")
    net = built("tracker", f"sam3:model={tmp_path / 'whole'}")._model.net
    net.save_pretrained(tmp_path / "part")
    hf_processor(SAM3_SIZE).save_pretrained(tmp_path / "part")
    again = built("tracker", f"sam3:model={tmp_path / 'part'}")._model.net
    state = net.state_dict()
    assert all(value.equal(state[name]) for name, value in again.state_dict().items())


def test_an_old_transformers_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_tiny_sam3(tmp_path)
    monkeypatch.setattr("transformers.__version__", "5.5.0")
    for name in ("sam3", "sam3_concept"):
        with pytest.raises(InputError, match=r"needs transformers 5\.8 or newer, this is 5\.5\.0"):
            revseg.build("tracker", f"{name}:model={tmp_path}")


def test_each_name_has_its_checkpoint() -> None:
    defaults = {
        name: next(iter(revseg.registry.options_of(tracker).values())).default
        for name, tracker in {"sam2_hf": Sam2HfTracker, "sam3": Sam3Tracker, "edgetam": EdgeTamTracker}.items()
    }
    assert defaults == {
        "sam2_hf": "facebook/sam2.1-hiera-large",
        "sam3": "facebook/sam3",
        "edgetam": "yonigozlan/EdgeTAM-hf",
    }


@pytest.mark.parametrize("model", ["facebook/sam3.1", "somewhere/sam3_1", "SAM-3.1-multiplex"])
def test_sam31_is_refused(model: str) -> None:
    with pytest.raises(InputError, match=r"SAM 3.1 has tensors of other shapes .* use facebook/sam3"):
        Sam3Tracker(model)


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_model_asks_for_its_licence(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError

    def gated(*args: Any, **kwargs: Any) -> str:
        response: Any = SimpleNamespace(status_code=status, headers={}, request=None)
        raise GatedRepoError("Access to model facebook/sam3 is restricted.", response=response)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", gated)
    with pytest.raises(InputError, match=r"accepted, do so on https://huggingface.co/facebook/sam3 and log in"):
        Sam3Tracker()


BACKBONE = {"model_type": "timm_wrapper", "architecture": "repvit_m1"}
TIMM: dict[str, tuple[dict[str, Any], str]] = {
    "a place on the network": ({"architecture": "hf-hub:evil/model"}, "name of an architecture of timm"),
    "a folder": ({"architecture": "local-dir:/tmp/x"}, "name of an architecture of timm"),
    "a pickle": ({"model_args": {"checkpoint_path": "evil.pth"}}, "expected model_args of features_only, in_chans"),
    "another configuration": ({"model_args": {"pretrained_cfg": {"file": "x"}}}, "expected model_args of"),
}


@pytest.mark.parametrize("case", TIMM)
def test_a_backbone_of_timm_names_no_other_file(case: str, tmp_path: Path) -> None:
    changes, message = TIMM[case]
    save_tiny_edgetam(tmp_path)
    edit(tmp_path, lambda c: c["vision_config"].update(backbone_config={**BACKBONE, **changes}))
    with pytest.raises(InputError, match=message):
        EdgeTamTracker(str(tmp_path))


def test_a_missing_timm_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_tiny_edgetam(tmp_path)
    edit(tmp_path, lambda c: c["vision_config"].update(backbone_config=BACKBONE))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"repvit_m1 of this model needs timm: pip install 'revseg\[edgetam\]'"):
        EdgeTamTracker(str(tmp_path))


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("processor_config.json", "image_mean", "x"),
        ("processor_config.json", "size", {}),
        ("processor_config.json", "image_std", {"a": 1}),
        ("config.json", "num_maskmem", "many"),
    ],
)
def test_damage_that_shows_at_the_first_frame_is_one_error(file: str, key: str, value: Any, tmp_path: Path) -> None:
    def damage(node: Any) -> None:
        for name, inner in node.items():
            if name == key:
                node[name] = value
            elif isinstance(inner, dict):
                damage(inner)

    save_tiny_sam2_hf(tmp_path)
    content = json.loads((tmp_path / file).read_text())
    damage(content)
    (tmp_path / file).write_text(json.dumps(content))
    prompt = [Grounding(0, np.array([[0.1, 0.1, 0.6, 0.6]], np.float32))]
    with pytest.raises(InputError, match="the tracker model"):
        revseg.build("tracker", f"sam2_hf:model={tmp_path}")(Video.open(np.zeros((3, 48, 64, 3), np.uint8)), prompt)


def test_errors_of_a_model_that_has_worked_are_ours(tmp_path: Path) -> None:
    use = FirstUse("m")
    with pytest.raises(InputError, match=r"'m' cannot be used \(ValueError: no\)"), use.guard():
        raise ValueError("no")
    use.worked = True
    with pytest.raises(ValueError, match="no"), use.guard():
        raise ValueError("no")
