"""A training run that cannot fit is refused before weights are loaded, with the arithmetic; nothing is allocated."""

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_qwen import save_tiny_qwen
from typer.testing import CliRunner

import revseg
from revseg.cli.app import app
from revseg.errors import InputError
from revseg.policies.hf.weight_counts import count_weights
from revseg.training import device_memory, memory
from revseg.training.config import TrainConfig
from revseg.training.device_memory import free_memory, free_ram
from revseg.training.memory import check_memory, needed
from revseg.training.optimizers import make_optimizers
from revseg.training.prepare import prepare, trained
from revseg.types import WeightCounts

SIZES = {  # hidden, intermediate, layers, heads, key and value heads, vocabulary, tied words: as published
    "7B": (3584, 18944, 28, 28, 4, 152064, False),
    "3B": (2048, 11008, 36, 16, 2, 151936, True),
}
WORLD = "shapes:size=2,frames=4,height=32,width=32"
GIB = 2**30


def write_config(folder: Path, size: str) -> Path:
    """A folder that describes a model of the released size, and holds none of its weights."""
    hidden, intermediate, layers, heads, kv, words, tied = SIZES[size]
    text: dict[str, Any] = {"hidden_size": hidden, "intermediate_size": intermediate, "num_hidden_layers": layers}
    text |= {"num_attention_heads": heads, "num_key_value_heads": kv, "vocab_size": words, "tie_word_embeddings": tied}
    text["rope_parameters"] = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
    vision = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": hidden}
    config = {"model_type": "qwen2_5_vl", "text_config": text, "vision_config": vision, "tie_word_embeddings": tied}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def seven(tmp_path: Path) -> Path:
    return write_config(tmp_path / "seven", "7B")


def has(monkeypatch: pytest.MonkeyPatch, place: str, free: float | None) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda device, spread: (place, free))


def test_the_released_models_are_counted(seven: Path, tmp_path: Path):
    assert count_weights(str(seven)) == WeightCounts(8_292_166_656, 676_550_144, 40_370_176 // 16)
    found = count_weights(str(write_config(tmp_path / "three", "3B")))
    assert found is not None
    assert found.all == 3_754_622_976  # words that are written as they are read count once


def test_counts_are_those_of_the_loaded_model(tmp_path: Path):
    folder = save_tiny_qwen(tmp_path / "tiny")
    policy: Any = revseg.build("policy", f"qwen:model={folder}")
    found = count_weights(str(folder))
    assert found is not None
    assert found.all == sum(p.numel() for p in policy.model.parameters())
    policy.add_lora(3)
    assert found.per_rank * 3 == sum(p.numel() for p in policy.model.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("settings", "beta", "options", "on_gpu", "gb"),
    [
        ({}, 0.001, {}, True, 8.292 * 20),  # weights, gradients, two moments, reference: 4 bytes each
        ({}, 0.0, {}, True, 8.292 * 16),
        ({"reference": "cpu"}, 0.001, {}, True, 8.292 * 16),
        ({"reference": "cpu"}, 0.001, {}, False, 8.292 * 20),
        ({"freeze_vision": True}, 0.0, {}, True, 8.292 * 16 - 0.6766 * 12),
        ({"optimizer": "muon"}, 0.0, {}, True, 8.292 * 12),
        ({"lora_rank": 16}, 0.001, {}, True, 8.292 * 2 + 0.0404 * 16),
        ({"lora_rank": 16}, 0.001, {}, False, 8.292 * 4 + 0.0404 * 16),
        ({"lora_rank": 16}, 0.001, {"dtype": "float32"}, True, 8.292 * 4 + 0.0404 * 16),
        ({"lora_rank": 16, "reference": "copy"}, 0.001, {}, True, 8.292 * 4 + 0.0404 * 20),
        ({}, 0.0, {"adapter": "mine"}, True, 8.292 * 2),
    ],
)
def test_the_arithmetic(settings: Any, beta: float, options: Any, on_gpu: bool, gb: float):
    counts = WeightCounts(8_292_166_656, 676_550_144, 40_370_176 // 16)
    parts = needed(counts, TrainConfig(**settings), beta, options, on_gpu=on_gpu)
    assert sum(parts.values()) / 1e9 == pytest.approx(gb, abs=0.02)


def test_what_cannot_fit_is_refused_with_the_arithmetic_before_loading(
    seven: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    has(monkeypatch, "cuda:0", 85e9)
    with pytest.raises(InputError) as error:
        revseg.train(revseg.ReVSeg(policy=f"qwen:model={seven}"), WORLD, tmp_path / "out")
    said = str(error.value)
    for words in ("165.8 GB", "8.29 billion", "weights 33.2 GB, gradients 33.2 GB, adamw's moments 66.3 GB, reference"):
        assert words in said
    for words in ("cuda:0 has 85.0 GB free", "train.lora_rank=16) hold 17.2 GB", "train.check_memory=false"):
        assert words in said


def test_the_command_refuses_in_one_line_and_goes_on_when_told(
    seven: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    has(monkeypatch, "the CPU", 20e9)
    words = ["train", "--out", str(tmp_path / "out"), "--set", f"data.dataset={WORLD}"]
    words += ["--set", f"model.policy=qwen:model={seven}"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 3
    assert "the CPU has 20.0 GB free" in done.stderr
    assert done.stderr.count("\n") == 1
    told = CliRunner().invoke(app, [*words, "--set", "train.check_memory=false"])
    assert told.exit_code == 3
    assert "cannot load" in told.stderr  # it went on, to find that there are no weights


def test_what_fits_or_is_not_known_is_let_through(seven: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    plan = TrainConfig()
    has(monkeypatch, "cuda:0", 166e9)
    check_memory(f"qwen:model={seven}", plan, 0.001)
    has(monkeypatch, "cuda:0", 18e9)
    check_memory(f"qwen:model={seven}", TrainConfig(lora_rank=16), 0.001)
    has(monkeypatch, "cuda:0", None)
    check_memory(f"qwen:model={seven}", plan, 0.001)
    has(monkeypatch, "cuda:0", 0)
    for policy in (
        "random",
        object(),
        f"qwen:model={tmp_path}/none",
        {"name": "openai", "model": str(seven)},
        {"name": "qwen", "model": [1]},
    ):
        check_memory(policy, plan, 0.001)
    with pytest.raises(InputError, match=r"0\.0 GB free"):
        check_memory("qwen", plan, 0.001)
    with pytest.raises(InputError, match=r"0\.0 GB free"):
        check_memory({"name": "qwen", "model": str(seven)}, plan, 0.001)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"model_type": "qwen2_vl"}', '{"model_type": "qwen2_5_vl", "text_config": 3}']
)
def test_a_configuration_that_cannot_be_read_is_for_loading_to_refuse(tmp_path: Path, text: str):
    (tmp_path / "config.json").write_text(text)
    assert count_weights(str(tmp_path)) is None


def test_free_memory_of_this_machine():
    place, free = free_memory("cpu")
    assert place == "the CPU"
    assert free is None or free > 0
    assert free_memory("gpu") == ("gpu", None)


def test_control_groups_of_both_versions_limit_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    for folder in (proc / "self", groups / "a/b", groups / "memory/c"):
        folder.mkdir(parents=True)
    monkeypatch.setattr(device_memory, "PROC", proc)
    monkeypatch.setattr(device_memory, "CGROUPS", groups)
    (proc / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable:   {100 * GIB // 1024} kB\n")
    assert free_ram() == 100 * GIB
    (proc / "self/cgroup").write_text("4:memory:/c\n3:cpuset:/\n0::/a/b\n")
    (groups / "a/b/memory.max").write_text("max\n")
    (groups / "a/b/memory.current").write_text("0\n")
    assert free_ram() == 100 * GIB
    (groups / "a/memory.max").write_text(f"{50 * GIB}\n")  # a limit of the group above
    (groups / "a/memory.current").write_text(f"{30 * GIB}\n")
    (groups / "a/memory.stat").write_text(f"anon 1\ninactive_file {10 * GIB}\n")  # a cache can be given up
    assert free_ram() == 30 * GIB
    (groups / "memory/c/memory.limit_in_bytes").write_text(f"{9 * GIB}")
    (groups / "memory/c/memory.usage_in_bytes").write_text(f"{12 * GIB}")
    assert free_ram() == 0
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    (groups / "memory/c/memory.usage_in_bytes").write_text(f"{1 * GIB}")
    assert free_memory("cpu") == ("the CPU", 4 * GIB)


@pytest.mark.parametrize("settings", [{}, {"freeze_vision": True}, {"lora_rank": 3}])
def test_the_arithmetic_is_what_a_step_holds(tmp_path: Path, settings: Any):
    import torch

    folder, plan = save_tiny_qwen(tmp_path / "tiny"), TrainConfig(**settings)
    policy: Any = revseg.build("policy", f"qwen:model={folder},device=cpu")
    prepare(policy, plan)
    (optimizer,) = make_optimizers(policy.model, plan.optimizer, plan.lr)
    for parameter in trained(policy):
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    held = [*policy.model.parameters(), *(p.grad for p in trained(policy))]
    held += [t for state in optimizer.state.values() for t in state.values() if t.ndim]  # not the count of steps
    counts = count_weights(str(folder))
    assert counts is not None
    assert sum(t.nbytes for t in held) == sum(needed(counts, plan, 0.0, {}, on_gpu=False).values())
