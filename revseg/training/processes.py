"""The processes of a training run: each finds the others under torchrun, and leaves them in order when it ends."""

import atexit
from typing import Any


def make_accelerator(**options: Any) -> Any:
    """accelerate's `Accelerator`, on the CPU where there is no GPU: unless told, torchrun's processes stay alone there.

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
    """Without it gloo's threads may still run when their objects go, which aborts a process that has done its work."""
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()
