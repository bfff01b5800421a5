"""A SAM 2 folder from elsewhere: its yaml and its pickle run no code, and cost no memory, before they are refused."""

import copy
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from tiny_sam2 import save_tiny_sam2, save_tiny_sam2_hf

from revseg.errors import InputError
from revseg.trackers.sam2 import Sam2Tracker
from revseg.trackers.sam2_config import CLASSES, read_config
from revseg.trackers.sam2_hf import Sam2HfTracker


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny_sam2")
    save_tiny_sam2(folder)
    return folder


def folder_with(tiny: Path, where: Path, text: str) -> Path:
    where.mkdir(exist_ok=True)
    (where / "a.yaml").write_text(text)
    if not (where / "a.safetensors").exists():
        (where / "a.safetensors").symlink_to(tiny / "sam2_tiny.safetensors")
    return where


def changed(tiny: Path, change: Callable[[dict[str, Any]], Any]) -> str:
    """The good yaml, as a root dictionary that `change` has spoilt."""
    root = yaml.safe_load((tiny / "sam2_tiny.yaml").read_text())
    change(root)
    return yaml.safe_dump(root)


def call(target: str, *args: Any, **more: Any) -> dict[str, Any]:
    return {"_target_": target, "_args_": list(args), **more}


EVIL = "touch CANARY"
RUNS_CODE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another function": lambda r: r.update(model=call("os.system", EVIL)),
    "a walk through attributes": lambda r: r["model"].update(x=call("sam2.build_sam.torch.os.system", EVIL)),
    "a walk to torch.load": lambda r: r["model"].update(
        x=call("sam2.build_sam.torch.load", "CANARY.pkl", weights_only=False)
    ),
    "a walk from a class": lambda r: r["model"].update(
        x=call("sam2.modeling.sam2_base.SAM2Base.__init__.__globals__", EVIL)
    ),
    "a walk to builtins": lambda r: r["model"].update(
        x=call("sam2.modeling.sam2_base.torch.serialization.__builtins__.exec", EVIL)
    ),
    "hydra's own": lambda r: r["model"].update(x=call("hydra.utils.get_method", "os.system")),
    "a reference": lambda r: r.update(evil="os.system", model=call("${evil}", EVIL)),
    "a reference in a reference": lambda r: r.update(name="evil", evil="os.system", model=call("${${name}}", EVIL)),
    "a reference within text": lambda r: r.update(a="os", model=call("${a}.system", EVIL)),
    "a reference escaped once": lambda r: r.update(evil="os.system", model=call("\\${evil}", EVIL)),
    "a reference to a node": lambda r: r.update(
        evil=call("os.system", EVIL), model={**r["model"], "memory_encoder": "${evil}"}
    ),
    "a relative reference": lambda r: r["model"].update(
        evil="os.system", x={"_target_": "${..evil}", "_args_": [EVIL]}
    ),
    "the environment": lambda r: r["model"].update(x="${oc.env:HOME}"),
    "a resolver": lambda r: r["model"].update(x=call("${oc.decode:os.system}", EVIL)),
    "our registry": lambda r: r["model"].update(x=call("revseg.registry.build", "policy", "subprocess:run:args=id")),
    "our registry by reference": lambda r: r.update(
        b="revseg.build", model={**r["model"], "x": call("${b}", "policy")}
    ),
    "a list": lambda r: r["model"].update(x=[[{"y": [call("os.system", EVIL)]}]]),
    "a partial": lambda r: r["model"].update(x=call("os.system", EVIL, _partial_=True)),
    "arguments by place": lambda r: r["model"].update(_args_=[call("os.system", EVIL)]),
    "not recursive": lambda r: r["model"].update(_recursive_=False, x=call("os.system", EVIL)),
    "converted": lambda r: r["model"].update(_convert_="object", x=call("os.system", EVIL)),
    "a target that is a list": lambda r: r["model"].update(x={"_target_": ["os.system"]}),
    "a target that is a node": lambda r: r["model"].update(x={"_target_": call("os.system", EVIL)}),
    "an empty target": lambda r: r["model"].update(x={"_target_": None}),
    "a lookalike": lambda r: r["model"].update(_target_="sam2.modeling.sam2_base.SAM2Base "),
    "another of sam2": lambda r: r["model"].update(x=call("sam2.build_sam.build_sam2_hf", "evil/model")),
    "a pickle for Hiera": lambda r: r["model"]["image_encoder"]["trunk"].update(weights_path="CANARY.pkl"),
    "a class of torch.nn": lambda r: r["model"]["image_encoder"]["trunk"].update(norm_layer="Module"),
    "a missing value": lambda r: r["model"].update(x={"_target_": "???"}),
}

TEXTS = {
    "a python object": "model: !!python/object/apply:os.system ['touch CANARY']\n",
    "a python name": "model:\n  _target_: !!python/name:os.system\n",
    "a python path": "model:\n  _target_: !!python/object/apply:pathlib.Path ['x']\n",
    "another tag": "model: !evil {a: 1}\n",
    "a billion laughs": "a0: &a0 [1, 1]\n"
    + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 64))
    + "model: *a63\n",
    "a billion references": "a0: 1\n"
    + "".join(f"a{i}: ['${{a{i - 1}}}', '${{a{i - 1}}}']\n" for i in range(1, 64))
    + "model: ${a63}\n",
    "itself": "model: &a [*a]\n",
    "itself by reference": "model: ${model}\n",
    "brackets": "model: " + "[" * 50_000,
    "too large": "model: {}\n#" + "x" * 300_000,
    "no yaml": "model: {a: [}\n",
    "no text": "model: \x00\n",
    "a list": "- 1\n",
    "nothing": "",
    "no model": "trainer: {}\n",
    "a date": "model: 2020-01-01\n",
    "a number as key": "model: {1: 2}\n",
    "bytes": "model: {a: !!binary aGk=}\n",
    "a number of many digits": f"model: {{a: {'9' * 5000}}}\n",
    "a hexadecimal of many digits": f"model: {{a: 0x{'f' * 9000}}}\n",
}

NUMBERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "layers": lambda r: r["model"]["memory_attention"].update(num_layers=10**9),
    "stages": lambda r: r["model"]["image_encoder"]["trunk"].update(stages=[1, 1, 10**9, 1]),
    "width": lambda r: r["model"]["image_encoder"]["trunk"].update(embed_dim=10**9),
    "a fitting width": lambda r: r["model"]["image_encoder"]["trunk"].update(embed_dim=8192),
    "feed-forward": lambda r: r["model"]["memory_attention"]["layer"].update(dim_feedforward=16384),
    "positions": lambda r: r["model"]["memory_attention"]["layer"]["self_attention"].update(feat_sizes=[9999, 9999]),
    "memories": lambda r: r["model"].update(num_maskmem=16384),
    "infinite": lambda r: r["model"].update(sigmoid_scale_for_mem_enc=float("inf")),
    "no number": lambda r: r["model"].update(sigmoid_scale_for_mem_enc=float("nan")),
    "text": lambda r: r["model"].update(memory_temporal_stride_for_eval="often"),
    "null": lambda r: r["model"].update(max_obj_ptrs_in_encoder=None),
    "a truth value": lambda r: r["model"].update(pred_obj_scores=1),
    "an unknown option": lambda r: r["model"].update(shape="round"),
    "another root": lambda r: r.update(model=r["model"]["memory_encoder"]),
    "classes in the wrong places": lambda r: r["model"].update(image_encoder=r["model"]["memory_encoder"]),
    "a number for a class": lambda r: r["model"].update(memory_attention=3),
    "a stride of one": lambda r: r["model"]["memory_encoder"]["mask_downsampler"].update(stride=1),
}


class Canary:
    """Unpickled, it makes the file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (EVIL,)


@pytest.mark.parametrize("name", RUNS_CODE)
def test_no_yaml_calls_anything_but_sam2s_classes(
    name: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "CANARY.pkl").write_bytes(pickle.dumps(Canary()))
    folder = folder_with(tiny, tmp_path / "evil", changed(tiny, RUNS_CODE[name]))
    with pytest.raises(InputError, match=r"a\.yaml") as error:
        Sam2Tracker(str(folder))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "CANARY").exists()


@pytest.mark.parametrize("name", [*TEXTS, *NUMBERS])
def test_a_damaged_or_bloated_yaml_is_one_error(name: str, tiny: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = TEXTS[name] if name in TEXTS else changed(tiny, NUMBERS[name])
    with pytest.raises(InputError, match=r"a\.yaml") as error:
        Sam2Tracker(str(folder_with(tiny, tmp_path / "evil", text)))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "CANARY").exists()


def test_references_and_aliases_to_plain_values_are_read(tiny: Path, tmp_path: Path) -> None:
    root = yaml.safe_load((tiny / "sam2_tiny.yaml").read_text())
    want = read_config(tiny / "sam2_tiny.yaml")
    referring = copy.deepcopy(root)
    referring["sizes"] = {"side": root["model"]["image_size"], "rope": root["model"]["memory_attention"]["layer"]}
    referring["model"]["image_size"] = "${sizes.side}"
    referring["model"]["memory_attention"]["layer"] = "${sizes.rope}"
    (tmp_path / "refers.yaml").write_text(yaml.safe_dump(referring))
    assert read_config(tmp_path / "refers.yaml") == want
    text = yaml.safe_dump({"shared": root["model"], "model": root["model"]})
    assert "*id001" in text
    (tmp_path / "alias.yaml").write_text(text)
    assert read_config(tmp_path / "alias.yaml") == want


def test_the_classes_are_those_of_the_packages_own_configurations() -> None:
    import sam2

    used: set[str] = set()
    for path in Path(sam2.__path__[0], "configs").glob("sam2*/sam2*_hiera_*.yaml"):
        if "training" not in path.parent.name:
            used |= targets(read_config(path))
    assert used == CLASSES


def targets(node: Any) -> set[str]:
    if isinstance(node, list):
        return set().union(*map(targets, node))
    if not isinstance(node, dict):
        return set()
    return ({node["_target_"]} if "_target_" in node else set()).union(*map(targets, node.values()))


def test_numbers_with_an_exponent_are_numbers(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(changed(tiny, lambda r: r["model"].update(x="1e-6")))
    assert read_config(tmp_path / "a.yaml")["x"] == 1e-6


def test_a_pickle_with_more_than_tensors_is_not_run(tiny: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = str(tiny / "sam2_tiny.yaml")
    good = load_file(tiny / "sam2_tiny.safetensors")
    torch.save({"model": {**good, "x": Canary()}}, "evil.pt")
    Path("raw.pt").write_bytes(pickle.dumps(Canary()))
    torch.save([1, 2], "list.pt")
    torch.save({"model": {1: torch.zeros(1)}}, "names.pt")
    Path("cut.pt").write_bytes(Path("evil.pt").read_bytes()[:5000])
    Path("empty.pt").touch()
    Path("pointer.pt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    Path("pointer.safetensors").write_bytes(Path("pointer.pt").read_bytes())
    Path("cut.safetensors").write_bytes((tiny / "sam2_tiny.safetensors").read_bytes()[:-100])
    for file in sorted([*Path().glob("*.pt"), *Path().glob("*.safetensors")]):
        with pytest.raises(InputError, match=file.name) as error:
            Sam2Tracker(str(file), config=config)
        assert "\n" not in str(error.value)
    assert not Path("CANARY").exists()


def test_weights_that_do_not_fit_are_named(tiny: Path, tmp_path: Path) -> None:
    good = load_file(tiny / "sam2_tiny.safetensors")
    bad = {name: value for name, value in good.items() if name != "no_mem_embed"} | {"of_another": torch.zeros(1)}
    bad["maskmem_tpos_enc"] = torch.zeros(3, 1, 1, 5)
    save_file(bad, tmp_path / "bad.safetensors")
    match = (
        r"1 missing \(no_mem_embed\); 1 unexpected \(of_another\); 1 of another shape \(maskmem_tpos_enc \[3, 1, 1, 5\]"
    )
    with pytest.raises(InputError, match=match):
        Sam2Tracker(str(tmp_path / "bad.safetensors"), config=str(tiny / "sam2_tiny.yaml"))


def test_a_snapshot_of_the_hub_holds_both_formats(tiny: Path, tmp_path: Path) -> None:
    """Meta's .pt and transformers' model.safetensors side by side: each tracker reads its own."""
    save_tiny_sam2_hf(tmp_path)
    (tmp_path / "sam2_tiny.yaml").write_bytes((tiny / "sam2_tiny.yaml").read_bytes())
    with pytest.raises(InputError, match="use sam2_hf:model="):
        Sam2Tracker(str(tmp_path))
    good = load_file(tiny / "sam2_tiny.safetensors")
    torch.save({"model": {name: value + 1 for name, value in good.items()}}, tmp_path / "sam2_tiny.pt")
    got = Sam2Tracker(str(tmp_path))._model.net.state_dict()
    assert all(torch.equal(got[name], value + 1) for name, value in good.items())
    Sam2HfTracker(str(tmp_path))
    save_file(good, tmp_path / "sam2_tiny.safetensors")  # the same name in the safer format
    got = Sam2Tracker(str(tmp_path))._model.net.state_dict()
    assert all(torch.equal(got[name], value) for name, value in good.items())
    torch.save(good, tmp_path / "another.pt")
    with pytest.raises(InputError, match=r"another.pt.*sam2:model=FILE"):
        Sam2Tracker(str(tmp_path))


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta", "", "cpu:x"])
def test_a_device_that_cannot_be_used(device: str, tiny: Path) -> None:
    with pytest.raises(InputError, match=r"auto, cpu or cuda:0"):
        Sam2Tracker(str(tiny), device=device)


@pytest.mark.parametrize(
    ("dtype", "hint"), [("bf16", "write dtype=bfloat16"), ("half", "write dtype=float16"), ("x", "got 'x'")]
)
def test_a_dtype_by_another_name(dtype: str, hint: str, tiny: Path) -> None:
    with pytest.raises(InputError, match=hint):
        Sam2Tracker(str(tiny), dtype=dtype)
