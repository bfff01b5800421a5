"""The place of a process in a job: torchrun's variables, SLURM's, arrays, and the scripts that use them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_cli_train import CONFIG
from test_evaluation import content, run
from tiny_qwen import save_tiny_qwen

from revseg.cli.app import app
from revseg.errors import InputError
from revseg.job import Place, first_host, place_in_job, torch_variables
from revseg.training.processes import _by_slurm

ROOT = Path(__file__).parent.parent
STEP = {"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8", "SLURM_LOCALID": "1", "SLURM_NTASKS": "8"}


def array(task: int, first: int, count: int, step: int = 1) -> dict[str, str]:
    values = {"ID": task, "MIN": first, "COUNT": count, "STEP": step, "MAX": first + (count - 1) * step}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


@pytest.mark.parametrize(
    ("env", "rank", "world", "local"),
    [
        ({}, 0, 1, 0),
        ({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}, 3, 4, 1),
        ({"RANK": "3", "WORLD_SIZE": "4"}, 3, 4, 3),
        ({"RANK": "", "WORLD_SIZE": ""}, 0, 1, 0),
        ({"RANK": "", "WORLD_SIZE": "", **STEP}, 5, 8, 1),
        ({"RANK": "0", "WORLD_SIZE": "1", **STEP, **array(2, 0, 4)}, 0, 1, 0),  # says: alone, whatever SLURM says
        (STEP, 5, 8, 1),
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}, 0, 1, 0),  # a batch script, no step
        (array(2, 0, 4), 2, 4, 0),
        (array(12, 10, 4), 2, 4, 0),
        (array(6, 0, 4, 2), 3, 4, 0),
        (array(7, 7, 1), 0, 1, 0),  # one task submitted again
        ({**STEP, **array(2, 1, 3)}, 13, 24, 1),
    ],
)
def test_places_by_hand(env: dict[str, str], rank: int, world: int, local: int):
    found = place_in_job(env, arrays=True)
    assert (found.rank, found.world, found.local) == (rank, world, local)


def test_an_array_is_one_job_only_where_it_is_asked_for():
    """Tasks of an array do not start together: training cannot wait for them."""
    assert place_in_job(array(2, 0, 4)) == Place()
    assert torch_variables(array(2, 0, 4)) == {}
    assert str(place_in_job(array(2, 0, 4), arrays=True)) == "process 2 of 4, by a SLURM array"


def test_the_tasks_of_an_array_divide_the_ranks():
    steps = [{**STEP, "SLURM_PROCID": str(n)} for n in range(8)]
    ranks = [place_in_job({**step, **array(task, 1, 3)}, arrays=True).rank for task in (1, 2, 3) for step in steps]
    assert ranks == list(range(24))


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"RANK": "x"}, "expected a number in RANK, got 'x'"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK in 0..WORLD_SIZE-1, got 2 of 2"),
        ({**STEP, "SLURM_PROCID": "8"}, "SLURM_PROCID in 0.*got 8 of 8"),
        ({**array(7, 1, 3)}, "without gaps"),
        ({**array(3, 0, 4, 2)}, "without gaps"),
    ],
)
def test_variables_that_do_not_fit(env: dict[str, str], words: str):
    with pytest.raises(InputError, match=words):
        place_in_job(env, arrays=True)


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ("gpu7", "gpu7"),
        ("gpu[003-005,9],login1", "gpu003"),
        ("a-b[1,3-4]-ib,x", "a-b1-ib"),
        ("n1,n2", "n1"),
        ("", "127.0.0.1"),
    ],
)
def test_the_first_host(nodes: str, host: str):
    assert first_host(nodes) == host


def test_what_torch_needs():
    env = {**STEP, "SLURM_STEP_NODELIST": "n[4-5]", "SLURM_STEP_TASKS_PER_NODE": "4(x2)", "SLURM_JOB_ID": "1234567"}
    found = torch_variables(env)
    ranks = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    assert found == {**ranks, "MASTER_ADDR": "n4", "MASTER_PORT": "24567"}
    assert torch_variables({**env, "MASTER_ADDR": "x", "MASTER_PORT": "1"})["MASTER_ADDR"] == "x"
    assert torch_variables({**env, "RANK": "0", "WORLD_SIZE": "1"}) == {}


def test_a_task_that_sees_its_own_gpu_alone(monkeypatch: pytest.MonkeyPatch):
    for name, value in STEP.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert _by_slurm(1)["LOCAL_RANK"] == "0"
    assert _by_slurm(8)["LOCAL_RANK"] == "1"


def test_an_evaluation_as_an_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run(tmp_path / "whole.jsonl")
    for task in (3, 2, 1):
        for name, value in array(task, 1, 3).items():
            monkeypatch.setenv(name, value)
        assert not (tmp_path / "r.jsonl").exists()
        run(tmp_path / "r.jsonl")
    assert content(tmp_path / "r.jsonl") == content(tmp_path / "whole.jsonl")


def test_the_command_says_which_share_it_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A sweep written as an array would evaluate a part of each: it has to be seen."""
    from typer.testing import CliRunner

    for name, value in array(0, 0, 2).items():
        monkeypatch.setenv(name, value)
    words = ["evaluate", "shapes:size=3,frames=4,height=32,width=32", "--policy", "oracle", "--tracker", "fill_box"]
    done = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "r.jsonl")])
    assert "2 of 3 rows, this was process 0 of 2, by a SLURM array" in done.stdout, done.output


@pytest.fixture
def cluster(tmp_path: Path) -> dict[str, str]:
    """An environment in which `srun` starts SLURM_NTASKS processes as SLURM does, and `revseg` is this one."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "srun").write_text(
        """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
for ((i = 0; i < SLURM_NTASKS; i++)); do
    SLURM_STEP_NUM_TASKS=$SLURM_NTASKS SLURM_PROCID=$i SLURM_LOCALID=$i SLURM_STEP_NODELIST=localhost "$@" &
    started+=($!)
done
for one in "${started[@]}"; do wait "$one" || failed=1; done
exit ${failed:-0}
"""
    )
    (tools / "revseg").write_text(
        f'#!/bin/bash\nexec {sys.executable} -c "from revseg.cli.app import main; main()" "$@"\n'
    )
    for tool in ("srun", "revseg"):
        (tools / tool).chmod(0o755)
    path = [str(ROOT), str(ROOT / "tests")]
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "RANK", "WORLD_"))},
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(path),
        "OMP_NUM_THREADS": "1",
        "SLURM_NTASKS": "2",
        "SLURM_PROCID": "0",
        "SLURM_JOB_ID": "77",
    }


def batch(script: str, env: dict[str, str], *words: Any) -> Any:
    bash = shutil.which("bash")
    assert bash is not None
    command = [bash, ROOT / "benchmarks" / "slurm" / script, *map(str, words)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_batch_scripts_evaluate(tmp_path: Path, cluster: dict[str, str]):
    words = ["shapes:size=5,frames=6,height=32,width=32", "--policy", "oracle", "--tracker", "fill_box"]
    done = batch("evaluate.sbatch", cluster, *words, "--out", tmp_path / "r.jsonl")
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(tmp_path)) == ["bin", "r.jsonl"]
    for task in (0, 1):
        done = batch("evaluate_array.sbatch", {**cluster, **array(task, 0, 2)}, *words, "--out", tmp_path / "a.jsonl")
        assert done.returncode == 0, done.stderr
    assert content(tmp_path / "a.jsonl") == content(tmp_path / "r.jsonl")


@pytest.mark.slow
def test_the_batch_script_trains_in_two_processes(tmp_path: Path, cluster: dict[str, str]):
    """They find each other: two that believed to be alone would meet at the lock of the folder."""
    (tmp_path / "run.toml").write_text(CONFIG)
    policy = f"qwen:model={save_tiny_qwen(tmp_path / 'tiny')}"
    words = ["--config", tmp_path / "run.toml", "--set", f"model.policy={policy}", "--set", "train.steps=1"]
    done = batch("train.sbatch", cluster, *words, "--out", tmp_path / "two")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trained policy") == 1
    done = batch("train.sbatch", {**cluster, "SLURM_NTASKS": "1"}, *words, "--out", tmp_path / "one")
    assert done.returncode == 0, done.stderr
    two, one = (json.loads((tmp_path / name / "log.jsonl").read_text()) for name in ("two", "one"))
    timed = {name for name in one if name.startswith("seconds")}
    assert {n: two[n] for n in two.keys() - timed} == pytest.approx({n: one[n] for n in one.keys() - timed}, abs=1e-4)
