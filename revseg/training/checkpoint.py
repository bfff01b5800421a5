"""Checkpoints, written atomically: everything a run needs to go on as if it had not been stopped."""

import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from revseg.errors import InputError, OutputError
from revseg.output import fresh_file
from revseg.untrusted.model_folder import check_file, check_fit, short


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
    try:
        with fresh_file(path, overwrite=True) as part, part.open("xb") as file:
            torch.save(state, file)
    except OutputError as error:
        raise OutputError(f"{error}; the checkpoint before it is still there") from error
    except (OSError, RuntimeError) as error:  # PyTorch's writer hides what the disk said
        raise OutputError(f"cannot write {path}: {error}; the checkpoint before it is still there") from error


def load_checkpoint(path: Path, model: Any, optimizers: Sequence[Any]) -> int:
    """Restore a checkpoint's state. Returns the step to go on with, 0 when there is no checkpoint.

    InputError for a file that is damaged or of another model. Only tensors and plain values are unpickled.
    """
    import torch

    if not path.exists():
        return 0
    check_file(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        weights, step, parts = state["model"], operator.index(state["step"]), list(state["optimizers"])
        came = {name: tuple(value.shape) for name, value in weights.items()}
    except Exception as error:  # a damaged archive raises anything
        raise InputError(f"cannot go on from {path} ({type(error).__name__} {short(error)}): {_ANEW}") from error
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    shapes = {n: (came[n], tuple(p.shape)) for n, p in named.items() if n in came and came[n] != tuple(p.shape)}
    what = f"cannot go on from {path}, which is of another model; {_ANEW}"
    check_fit(what, named.keys() - came.keys(), came.keys() - named.keys(), shapes)
    if len(parts) != len(optimizers):
        raise InputError(f"cannot go on from {path}: {len(parts)} optimizers for {len(optimizers)}; {_ANEW}")
    with torch.no_grad():
        for name, value in weights.items():
            named[name].copy_(value)
    try:
        for optimizer, saved in zip(optimizers, parts, strict=True):
            optimizer.load_state_dict(saved)
        torch.set_rng_state(state["rng"])
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise InputError(f"cannot go on from {path} ({type(error).__name__} {short(error)}): {_ANEW}") from error
    return step


_ANEW = "remove it to start the run anew, or put back a whole one"
