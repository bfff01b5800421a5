"""How much memory is free on a GPU, or for this process on the CPU."""

import os
import re
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
PROC = Path("/proc")


def free_memory(device: str = "auto", *, spread: bool = False) -> tuple[str, int | None]:
    """(where, free bytes) of "auto", "cpu", "cuda" or "cuda:1"; of all GPUs together when `spread` over them.

    Bytes are None where they cannot be known. Several processes of a job on one machine each get an equal share of the
    CPU's memory.
    """
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus and spread:
        return f"{gpus} GPUs", sum(torch.cuda.mem_get_info(i)[0] for i in range(gpus))
    if device == "cpu" or (device == "auto" and not gpus):
        free, sharing = free_ram(), max(1, _number(os.environ.get("LOCAL_WORLD_SIZE", "")) or 1)
        return "the CPU", None if free is None else free // sharing
    match = re.fullmatch(r"cuda(?::(\d+))?", "cuda" if device == "auto" else device)
    if match is None or not gpus:
        return device, None  # loading tells what is wrong with it
    index = torch.cuda.current_device() if match[1] is None else int(match[1])
    return f"cuda:{index}", torch.cuda.mem_get_info(index)[0] if index < gpus else None


def free_ram() -> int | None:
    """Bytes that this process can still allocate: the machine's free memory, or what a control group leaves of it."""
    limits = [n for n in (_machine(), *_groups()) if n is not None]
    return min(limits) if limits else None


def _machine() -> int | None:
    """Linux's MemAvailable (which counts caches as free), elsewhere the machine's whole memory."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", _read(PROC / "meminfo"), re.MULTILINE)
    if found:
        return int(found[1]) * 1024
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not a POSIX system, or one without these names
        return None


def _groups() -> list[int | None]:
    """Bytes left in each control group that this process is in, of version 1 and 2."""
    left = []
    for line in _read(PROC / "self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if names not in ("", "memory"):
            continue
        root = CGROUPS / names if names else CGROUPS
        limit, used = ("memory.limit_in_bytes", "memory.usage_in_bytes") if names else ("memory.max", "memory.current")
        own = root / path.strip("/")
        for folder in [own, *own.parents]:
            if not folder.is_relative_to(root):
                break
            left.append(_left(folder, limit, used))
    return left


def _left(folder: Path, limit: str, used: str) -> int | None:
    most, taken = _number(_read(folder / limit)), _number(_read(folder / used))
    if most is None or taken is None:
        return None
    cache = re.search(r"^(?:total_)?inactive_file (\d+)$", _read(folder / "memory.stat"), re.MULTILINE)
    return max(0, most - taken + (int(cache[1]) if cache else 0))


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdecimal() else None


def _read(path: Path) -> str:
    """The text of a system file; "" where it does not exist, as on other systems."""
    try:
        return path.read_text("ascii", "replace")
    except OSError:
        return ""
