"""Checkpoints that are whole or absent: everything a run needs to go on as if it had not been stopped."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from revseg.errors import OutputError


def save_checkpoint(path: Path, model: Any, optimizers: Sequence[Any], step: int) -> None:
    """Weights, optimizers, generator states and the step, written beside `path` and renamed over it.

    OutputError when the disk is full or the folder cannot be written; the checkpoint before stays as it was.
    """
    import torch

    state = {
        "model": {name: p.detach() for name, p in model.named_parameters() if p.requires_grad},
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "rng": torch.get_rng_state(),
        "step": step,
    }
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except (OSError, RuntimeError) as error:
        partial.unlink(missing_ok=True)
        raise OutputError(f"cannot write the checkpoint {path}: {error}; the one before is still there") from error


def load_checkpoint(path: Path, model: Any, optimizers: Sequence[Any]) -> int:
    """Put a checkpoint's state back in place; the step to go on with, 0 when there is no checkpoint."""
    import torch

    if not path.is_file():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    named = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in state["model"].items():
            named[name].copy_(value)
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    torch.set_rng_state(state["rng"])
    return int(state["step"])
