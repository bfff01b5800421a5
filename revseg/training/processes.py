"""The processes of a training run, under torchrun or srun: they join a group, and leave it in order when they exit."""

import atexit
import os
from typing import Any

from revseg.errors import InputError
from revseg.job import torch_variables
from revseg.training.config import TrainConfig


def make_accelerator(**options: Any) -> Any:
    """accelerate's `Accelerator`, with `cpu=True` where there is no GPU: torchrun's processes form no group without it.

    The process group outlives a training, because a script may train again; it is left when the process exits.
    """
    import torch
    from accelerate import Accelerator

    os.environ.update(_by_slurm(torch.cuda.device_count()))
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), **options)
    if accelerator.num_processes > 1:
        atexit.unregister(_leave)  # once, however often a process trains
        atexit.register(_leave)
    return accelerator


def check_shares(config: TrainConfig, processes: int) -> None:
    """InputError unless every process has as many queries per step."""
    if config.queries_per_step % processes:
        raise InputError(f"queries_per_step={config.queries_per_step} must divide among {processes} processes")


def _by_slurm(gpus: int) -> dict[str, str]:
    """torch's variables for a process of a SLURM step; nothing where torchrun or the user has set them.

    With `--gpus-per-task` a task sees its own GPU alone, as number 0 whatever its number on the machine.
    """
    found = torch_variables()
    if found and gpus:
        found["LOCAL_RANK"] = str(int(found["LOCAL_RANK"]) % gpus)
    return found


def _leave() -> None:
    """Leave the group: else gloo's threads may outlive their objects, which aborts a process that has done its work."""
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()
