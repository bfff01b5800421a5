"""benchmarks/gradient_noise.py: the share of signal by hand, by simulation, and on a small policy."""

import importlib
import math
from pathlib import Path
from types import ModuleType

import pytest
import torch
from tiny_qwen import save_tiny_qwen

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def noise(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("gradient_noise")


def test_equal_gradients_are_all_signal(noise: ModuleType):
    found = noise.signal(torch.tensor([[3.0, 4.0]] * 4))
    assert found == pytest.approx({"norm": 5, "cosine": 1, "cosine_error": 0, "noise_scale": 0}, abs=1e-6)


def test_gradients_at_right_angles_are_all_noise(noise: ModuleType):
    found = noise.signal(torch.eye(4))
    assert found["cosine"] == pytest.approx(0)
    assert math.isinf(found["noise_scale"]) or found["noise_scale"] > 1e9


def test_a_known_share_is_found(noise: ModuleType):
    """Signal of squared length 1 in noise of squared length 9: a share of a tenth, a noise scale of nine batches."""
    generator = torch.Generator().manual_seed(0)
    true = torch.zeros(20_000)
    true[0] = 1
    rows = true + 3 / math.sqrt(len(true)) * torch.randn(12, len(true), generator=generator)
    found = noise.signal(rows)
    assert found["cosine"] == pytest.approx(0.1, abs=4 * found["cosine_error"])
    assert 0 < found["cosine_error"] < 0.02
    assert found["noise_scale"] == pytest.approx(9, rel=0.3)


@pytest.mark.slow
def test_every_batch_gives_a_gradient_of_all_weights(noise: ModuleType, tmp_path: Path):
    save_tiny_qwen(tmp_path / "tiny", defaults={"num_frames": 4})
    model = {"policy": f"qwen:model={tmp_path / 'tiny'}", "rewards": {"training_world:length": 1.0}}
    train = {
        "queries_per_step": 2,
        "group_size": 8,
        "max_new_tokens": 8,
        "objective": "grpo:beta=0",
        "freeze_vision": False,
    }
    size = noise.Size(model=model, train=train, world="frames=8,height=48,width=48")
    rows = noise.gradients(size, size.config, 3)
    assert list(rows) == ["vision tower", "language model"]
    assert all(some.shape[0] == 3 and some.abs().sum(1).min() > 0 for some in rows.values())
    trained = sum(p.numel() for p in size.base.built_policy.model.parameters())
    assert sum(some.shape[1] for some in rows.values()) == trained
    found = noise.signal(torch.cat(list(rows.values()), 1))
    assert -1 <= found["cosine"] <= 1
