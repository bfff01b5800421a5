"""A run of two steps that keeps the gradient of the first, for `test_grpo`; alone or under torchrun."""

import atexit
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from training_world import config, samples, tiny

import revseg
from revseg.training import grpo


def main(folder: str, out: Path) -> None:
    descend = grpo.descend

    def record(optimizers: Any, parameters: Any, clip: float) -> float:
        if os.environ.get("RANK", "0") == "0" and not (out / "grads.pt").exists():
            torch.save([p.grad.clone() for p in parameters], out / "grads.pt")
        return descend(optimizers, parameters, clip)

    def report(row: Mapping[str, Any]) -> None:
        if row["step"] == 0:
            print({name: value for name, value in row.items() if name.startswith("failed")}, flush=True)

    grpo.descend = record
    # 150 tokens: micro-batches of a few rows; gdpo's advantages need the rewards of every process
    settings = config(
        steps=2, queries_per_step=4, max_tokens_per_forward=150, objective="gdpo:beta=0.05", grad_clip=1e6
    )
    revseg.train(tiny(folder), samples(), out, settings, report=report)
    assert PartialState().num_processes == int(os.environ.get("WORLD_SIZE", "1")), "each believed to be alone"


def left(out: Path) -> None:
    """Called last of all: a mark when the process has left its group."""
    if not torch.distributed.is_initialized():
        (out / f"left.{os.environ.get('RANK', '0')}").touch()


if __name__ == "__main__":
    torch.set_num_threads(1)
    atexit.register(left, Path(sys.argv[2]))
    main(sys.argv[1], Path(sys.argv[2]))
