"""The processes of a training run under torchrun: they join a group, and leave it in order when they exit."""

import atexit
from typing import Any


def make_accelerator(**options: Any) -> Any:
    """accelerate's `Accelerator`, with `cpu=True` where there is no GPU: torchrun's processes form no group without it.

    The process group outlives a training, because a script may train again; it is left when the process exits.
    """
    import torch
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=not torch.cuda.is_available(), **options)
    if accelerator.num_processes > 1:
        atexit.unregister(_leave)  # once, however often a process trains
        atexit.register(_leave)
    return accelerator


def _leave() -> None:
    """Leave the group: else gloo's threads may outlive their objects, which aborts a process that has done its work."""
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()
