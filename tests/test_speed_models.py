"""The scripts of `benchmarks/speed` that run models: their smallest size, on a CPU, equal to baselines."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks" / "speed"


def rows(name: str, out: Path, *options: str) -> list[dict[str, Any]]:
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--small", "--out", str(out), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(out.read_text())["rows"]


@pytest.mark.slow
def test_group_rollouts_have_the_tokens_of_generate(tmp_path: Path):
    """With eight, four and one different keyframe in the group."""
    found = rows("rollouts", tmp_path / "out.json")
    assert len(found) == 3
    for row in found:
        assert row["same_tokens"]
        assert row["largest_difference"] <= 1e-4


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read as Linux tells it")
def test_log_probs_of_a_large_vocabulary_are_those_of_full_logits(tmp_path: Path):
    (row,) = rows("vocabulary", tmp_path / "out.json")
    assert row["equal"]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read as Linux tells it")
def test_a_grpo_step_says_when_trl_is_not_there(tmp_path: Path):
    (row,) = rows("grpo_step", tmp_path / "out.json")
    assert row["ours"]["tokens_a_reply"] == row["shape"]["tokens"]
    assert "--trl" in row["baseline"]


@pytest.mark.slow
def test_shares_of_a_profile_add_up(tmp_path: Path):
    for row in rows("profile_step", tmp_path / "out.json"):
        assert sum(row["share"].values()) == pytest.approx(1, abs=0.02)


@pytest.mark.slow
def test_the_gpu_script_says_what_it_ran_on(tmp_path: Path):
    found = rows("gpu", tmp_path / "out.json", "--device", "cpu")
    assert {row["ran_on"] for row in found} == {"CPU, small shapes"}
    assert found[0]["rollouts_a_second"] > 0
