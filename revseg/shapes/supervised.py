"""The training loop of vision pretraining and fine-tuning: prefetch, learning rates, gradients, log, checkpoints."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from revseg import checked
from revseg.output import check_writable
from revseg.shapes.prefetch import prefetch
from revseg.training.checkpoint import load_checkpoint, save_checkpoint
from revseg.training.folder import alone
from revseg.training.log import append_rows, cut_rows
from revseg.training.optimizers import descend, scale_rates, sum_over_processes, warmup_then_root
from revseg.training.processes import make_accelerator
from revseg.types import Clip, Dataset, Sample, Sampler

T = TypeVar("T")
Report = Callable[[dict[str, float]], None]


@runtime_checkable
class LoopConfig(Protocol):
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
    config: LoopConfig,
    make_batch: Callable[[int, slice], T],
    backward: Callable[[T, Any], Mapping[str, float]],
    report: Report,
) -> bool:
    """Train `model` from the last checkpoint in `folder` up to `config.steps`; True in the main process.

    `make_batch(step, rows)` returns this process's rows of a batch, and the same ones whenever it is called.
    `backward(batch, accelerator)` adds to the gradients and returns figures to log, its loss summed over processes.
    """
    accelerator = make_accelerator()
    check_writable(folder)
    with alone(folder, accelerator):
        parameters = [p for p in model.parameters() if p.requires_grad]
        start = load_checkpoint(folder / "checkpoint.pt", model, optimizers)
        if accelerator.is_main_process:
            cut_rows(folder / "log.jsonl", start)
        rows = slice(accelerator.process_index, None, accelerator.num_processes)
        steps = range(start, config.steps)
        batches = prefetch(lambda step: make_batch(step, rows), steps, config.workers)
        began = time.perf_counter()
        for step, batch in zip(steps, batches, strict=True):
            scale_rates(optimizers, warmup_then_root(step, config.steps, config.warmup))
            figures = {"step": step, **backward(batch, accelerator)}
            if accelerator.num_processes > 1:
                sum_over_processes(parameters, accelerator)
            figures["grad_norm"] = descend(optimizers, parameters, 1.0)
            figures["seconds"] = time.perf_counter() - began
            if accelerator.is_main_process:
                append_rows(folder / "log.jsonl", [figures])
                report(figures)
                if (step + 1) % config.save_every == 0 or step + 1 == config.steps:
                    save_checkpoint(folder / "checkpoint.pt", model, optimizers, step + 1)
            began = time.perf_counter()
    return accelerator.is_main_process


def draw_clip(dataset: Dataset, sampler: Sampler, frames: int, rng: np.random.Generator) -> tuple[Sample, Clip]:
    """A random sample of the dataset, and `frames` frames of its video."""
    index = int(rng.integers(len(dataset)))
    sample = checked.sample(dataset, dataset[index], index)
    clip = sampler(sample.video, sample.query, frames)
    return sample, checked.clip(sampler, clip, sample.video, frames)
