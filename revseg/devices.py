"""The options `device` and `dtype` of models, and the GPU of a worker."""

from pathlib import Path
from typing import TYPE_CHECKING

from revseg.errors import InputError
from revseg.untrusted.model_folder import short

if TYPE_CHECKING:
    import torch

_ALIASES = {"bf16": "bfloat16", "fp16": "float16", "half": "float16", "fp32": "float32", "float": "float32"}


def pick_device(name: str) -> "torch.device":
    """Torch's device of that name; `auto` is the GPU if there is one, else the CPU. InputError if it is unusable."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type == "meta":
            raise RuntimeError("meta has no values")
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch without CUDA asserts
        there = [f"cuda:{i}" for i in range(torch.cuda.device_count())] or ["no CUDA GPU is here"]
        raise InputError(
            f"expected a device such as auto, cpu or cuda:0 ({', '.join(there)}), got {name!r}: {short(error)}"
        ) from error
    return device


def pick_dtype(name: str, auto: "torch.dtype") -> "torch.dtype":
    """The dtype of that name, or `auto`. InputError for others, with the full name of usual abbreviations."""
    import torch

    dtypes = {"auto": auto, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in dtypes:
        full = _ALIASES.get(name, name.removeprefix("torch."))
        hint = f"; write dtype={full}" if full in dtypes else ""
        raise InputError(f"expected the dtype {', '.join(dtypes)}, got {name!r}{hint}")
    return dtypes[name]


def own_gpu(local_rank: int) -> None:
    """Make "cuda" mean this worker's GPU. torch is loaded only on machines with a GPU."""
    if not Path("/proc/driver/nvidia").exists():
        return
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank % torch.cuda.device_count())
