"""The loop of the supervised trainings: batches made ahead, rates, gradients of all processes, log, checkpoints."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from revseg.output import check_writable
from revseg.shapes.prefetch import prepared
from revseg.training.checkpoint import load_checkpoint, save_checkpoint
from revseg.training.folder import alone
from revseg.training.log import append_rows, cut_rows
from revseg.training.optimizers import descend, scale_rates, sum_over_processes, warmup_then_root
from revseg.training.processes import make_accelerator

T = TypeVar("T")
Report = Callable[[dict[str, float]], None]


@runtime_checkable
class Pace(Protocol):
    """What the loop reads of a configuration."""

    @property
    def steps(self) -> int: ...
    @property
    def warmup(self) -> int: ...
    @property
    def save_every(self) -> int: ...
    @property
    def workers(self) -> int: ...


def run_steps(
    model: Any,
    optimizers: list[Any],
    folder: Path,
    pace: Pace,
    make: Callable[[int, slice], T],
    learn: Callable[[T, Any], Mapping[str, float]],
    report: Report,
) -> bool:
    """Train `model` for the steps that are missing in `folder`; whether this process is the first.

    `make(step, rows)` gives this process's rows of a batch, the same wherever and whenever it is asked; `learn(batch,
    accelerator)` adds to the gradients and gives what to log, its loss summed over the processes.
    """
    accelerator = make_accelerator()
    check_writable(folder)
    with alone(folder, accelerator):
        parameters = [p for p in model.parameters() if p.requires_grad]
        start = load_checkpoint(folder / "checkpoint.pt", model, optimizers)
        if accelerator.is_main_process:
            cut_rows(folder / "log.jsonl", start)
        mine, steps = slice(accelerator.process_index, None, accelerator.num_processes), range(start, pace.steps)
        began = time.perf_counter()
        for step, batch in zip(steps, prepared(lambda step: make(step, mine), steps, pace.workers), strict=True):
            scale_rates(optimizers, warmup_then_root(step, pace.steps, pace.warmup))
            row = {"step": step, **learn(batch, accelerator)}
            if accelerator.num_processes > 1:
                sum_over_processes(parameters, accelerator)
            row["grad_norm"] = descend(optimizers, parameters, 1.0)
            row["seconds"] = time.perf_counter() - began
            if accelerator.is_main_process:
                append_rows(folder / "log.jsonl", [row])
                report(row)
                if (step + 1) % pace.save_every == 0 or step + 1 == pace.steps:
                    save_checkpoint(folder / "checkpoint.pt", model, optimizers, step + 1)
            began = time.perf_counter()
    return accelerator.is_main_process
