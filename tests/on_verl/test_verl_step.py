"""Two whole GRPO steps of verl's `main_ppo` on a CPU, against our own trainer's gradient on the same rollouts."""

# pyright: reportMissingImports=false

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("verl", reason="verl is not installed here")

import pyarrow as arrow
import pyarrow.parquet as parquet
import torch
import verl  # noqa: F401  (its tensors are read)
from test_verl_agent_loop import replay

import revseg
from revseg.integrations.verl.command import Machines, overrides, written
from revseg.integrations.verl.rows import write_rows
from revseg.integrations.verl.shared import Shared, shared
from revseg.rewards import score
from revseg.training.config import TrainConfig
from revseg.training.prepare import prepare, reference_of
from revseg.training.rollouts import Judged
from revseg.training.update import batch_of, gradients

DATA = "shapes:size=40,split=test"
CONFIG = TrainConfig(
    steps=2, queries_per_step=4, group_size=4, lr=1e-4, max_new_tokens=96, max_tokens_per_forward=1200, save_every=2
)
SPOILED = 2  # the row whose video cannot be read
CPU = (
    "ray_kwargs.ray_init.num_cpus=16",
    "+ray_kwargs.ray_init.num_gpus=1",
    "+ray_kwargs.ray_init.include_dashboard=false",
    "trainer.device=cpu",
    "actor_rollout_ref.rollout.name=hf",
    "actor_rollout_ref.rollout.free_cache_engine=false",
    "reward.num_workers=1",
    "reward_model.rollout.name=hf",
    "transfer_queue.backend.SimpleStorage.num_data_storage_units=1",
    "data.shuffle=false",
    "data.dataloader_num_workers=0",
    "actor_rollout_ref.actor.use_torch_compile=false",
    "actor_rollout_ref.actor.fsdp_config.use_torch_compile=false",
    "actor_rollout_ref.ref.fsdp_config.use_torch_compile=false",
)


class Alone:
    """One process, as accelerate's object has it."""

    num_processes, process_index = 1, 0

    def reduce(self, tensor: Any, how: str) -> Any:
        return tensor

    def gather(self, tensor: Any) -> Any:
        return tensor


@pytest.fixture(scope="module")
def run() -> Iterator[Path]:
    """The folder of a run: what verl dumped, its log, its rollouts."""
    folder = Path(tempfile.mkdtemp(prefix="rv", dir="/tmp"))  # Ray's sockets need a short path
    try:
        rows = folder / "rows.parquet"
        write_rows(DATA, rows, indices=range(4))
        spoil(rows)
        model = revseg.ReVSeg(policy="hf:model=small_sft")
        options = overrides(model, CONFIG, rows, folder / "run", Machines(1, 1, 512, 384))
        command = [sys.executable, "-m", "verl.trainer.main_ppo", *written(options), *CPU]
        here, root = str(Path(__file__).parent), str(Path(__file__).parents[2])
        names = {"PYTHONPATH": f"{root}:{here}", "REVSEG_DUMP": str(folder), "OMP_NUM_THREADS": "1"}
        names |= {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "VERL_FILE_LOGGER_PATH": str(folder / "log.jsonl")}
        temporary = f"+ray_kwargs.ray_init._temp_dir={folder}/ray"
        with (folder / "out.txt").open("w") as out:
            done = subprocess.run(
                [*command, temporary], env={**os.environ, **names}, stdout=out, stderr=out, timeout=1500, cwd=folder
            )
        assert done.returncode == 0, (folder / "out.txt").read_text()[-4000:]
        yield folder
    finally:
        if not os.environ.get("REVSEG_KEEP"):
            shutil.rmtree(folder)


def spoil(rows: Path) -> None:
    """Makes one row's video one that is gone."""
    table = parquet.read_table(rows).to_pylist()
    info = table[SPOILED]["extra_info"]
    info["video"] = json.dumps({**json.loads(info["video"]), "reader": {"file": "/gone.mp4"}})
    parquet.write_table(arrow.Table.from_pylist(table), rows)


def batch(folder: Path) -> list[dict[str, Any]]:
    """The rows that verl trained on, group after group."""
    dumped = torch.load(folder / "batch1_rank0.pt", weights_only=False)
    names = ("input_ids", "responses", "response_mask", "old_log_probs", "ref_log_prob", "advantages", "position_ids")
    rows = []
    for i in range(dumped.shape[0]):
        row = {name: dumped[name][i] for name in names}
        info = dumped["extra_info"][i]
        row["index"] = int(getattr(info, "data", info)["index"])
        rows.append(row)
    return sorted(rows, key=lambda row: row["index"])


@pytest.mark.slow
def test_a_step_of_verl_is_ours(run: Path, small: str) -> None:
    rows = batch(run)
    assert [row["index"] for row in rows] == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4
    failed = [row for row in rows if row["index"] == SPOILED]
    assert not any(row["response_mask"].any() for row in failed)
    assert not any(row["advantages"].any() for row in failed)

    parts: Shared = shared("", small)
    policy: Any = revseg.build("policy", f"hf:model={small},dtype=float32")
    policy.suppressed = []  # verl counts all tokens in its softmax
    prepare(policy, CONFIG)
    reference = reference_of(policy, CONFIG)
    samples = {i: revseg.build("dataset", DATA)[i] for i in (0, 1, 3)}
    starts = {i: parts.model.start(sample) for i, sample in samples.items()}
    rollouts, rewards = [], []
    rows = [row for row in rows if row["index"] != SPOILED]
    for row in rows:
        start, truth = starts[row["index"]], samples[row["index"]].truth
        mask = row["response_mask"].tolist()
        rollout = replay(row["responses"].tolist(), mask, row["old_log_probs"].tolist(), parts, start)
        track = parts.codec.trajectory(rollout)
        assert track.token_ids.tolist() == row["input_ids"].tolist()
        assert track.positions.tolist() == row["position_ids"][-3:].tolist()
        assert truth is not None
        rollouts.append(rollout)
        rewards.append(score(rollout, truth))
    objective: Any = revseg.build("objective", CONFIG.objective)
    mine = batch_of(policy, objective, reference, Judged(rollouts, rewards, 4), CONFIG, Alone())
    theirs = torch.stack([row["advantages"][row["response_mask"].bool()][0] for row in rows])
    assert (mine.advantages - theirs).abs().max() < 1e-5
    gradients(policy, objective, mine, CONFIG, Alone())
    grads = torch.load(run / "grads1.pt")
    pairs = [(grads[name], p.grad * 12 / 16) for name, p in policy.model.named_parameters() if p.grad is not None]
    assert len(pairs) == len(grads)
    off = sum(((theirs - mine) ** 2).sum().item() for theirs, mine in pairs)
    size = sum((theirs**2).sum().item() for theirs, _ in pairs)
    print(f"gradient: relative difference {np.sqrt(off / size):.2g} of {np.sqrt(size):.4g}")
    assert np.sqrt(off / size) < 1e-5


@pytest.mark.slow
def test_the_server_follows_the_trainer(run: Path) -> None:
    """What it samples with is what is trained, in the first step and after the weights were sent."""
    logged = [json.loads(line)["data"] for line in (run / "log.jsonl").read_text().splitlines()]
    differences = [row["training/rollout_probs_diff_max"] for row in logged if "training/rollout_probs_diff_max" in row]
    print(f"probabilities: largest differences {differences}")
    assert len(differences) == 2
    assert max(differences) < 1e-4
    before, after = torch.load(run / "before2.pt"), torch.load(run / "after1.pt")
    assert all(torch.equal(before[name], after[name]) for name in after)


@pytest.mark.slow
def test_the_reason_of_a_failure_is_in_the_log(run: Path) -> None:
    text = (run / "out.txt").read_text("utf-8", "replace")
    assert text.count("failed: VideoError: /gone.mp4") >= 4
    step = [json.loads(line) for line in (run / "run" / "rollouts" / "1.jsonl").read_text().splitlines()]
    assert len(step) == 16
    assert [row["score"] for row in step].count(0.0) >= 4


@pytest.mark.slow
def test_what_verl_saves_is_a_policy(run: Path) -> None:
    folder = run / "run" / "global_step_2" / "actor" / "huggingface"
    policy: Any = revseg.build("policy", f"hf:model={folder},dtype=float32")
    trained = torch.load(run / "after2.pt")
    found = policy.model.state_dict()
    for name, tensor in trained.items():
        assert torch.equal(found[name], tensor), name
