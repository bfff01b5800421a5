"""This process's place among the processes of a job, from the variables that torchrun or SLURM set.

`RANK` and `WORLD_SIZE` come first; an empty one counts as not set. Without them, a step of SLURM (what `srun` starts)
is known by SLURM_STEP_NUM_TASKS. A batch script itself is no step: it sees the job's SLURM_NTASKS and a SLURM_PROCID
of 0 too, but it is a single process, and one that took rank 0 of several would leave the other ranks' work undone.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from revseg.errors import InputError


@dataclass(frozen=True)
class Place:
    """`rank` of `world` processes, the `local`-th of its machine. `source` says where the numbers came from."""

    rank: int = 0
    world: int = 1
    local: int = 0
    source: str = ""

    def __str__(self) -> str:
        return f"process {self.rank} of {self.world}, by {self.source}" if self.world > 1 else "one process"


def place_in_job(env: Mapping[str, str] | None = None, *, arrays: bool = False) -> Place:
    """This process's place. With `arrays`, the tasks of a SLURM array are processes of one job as well.

    InputError for variables that are no numbers or do not fit each other.
    """
    env = os.environ if env is None else env
    if _number(env, "RANK") is not None or _number(env, "WORLD_SIZE") is not None:
        rank, world = _number(env, "RANK") or 0, _number(env, "WORLD_SIZE")
        local = _number(env, "LOCAL_RANK")
        return _checked(Place(rank, 1 if world is None else world, rank if local is None else local, "RANK/WORLD_SIZE"))
    step = _step(env)
    return _in_array(env, step) if arrays else step


def torch_variables(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """What torch.distributed reads, for a process of a SLURM step with several; empty for any other process.

    A MASTER_ADDR or MASTER_PORT that is set stays as it is.
    """
    env = os.environ if env is None else env
    found = place_in_job(env)
    if found.source != "SLURM" or found.world == 1:
        return {}
    nodes = env.get("SLURM_STEP_NODELIST") or env.get("SLURM_JOB_NODELIST") or ""
    per_node = re.match(r"\d+", env.get("SLURM_STEP_TASKS_PER_NODE") or "")
    job = re.sub(r"\D", "", env.get("SLURM_JOB_ID") or "") or "0"
    return {
        "RANK": str(found.rank),
        "WORLD_SIZE": str(found.world),
        "LOCAL_RANK": str(found.local),
        "LOCAL_WORLD_SIZE": per_node[0] if per_node else str(found.world),
        "MASTER_ADDR": env.get("MASTER_ADDR") or first_host(nodes),
        "MASTER_PORT": env.get("MASTER_PORT") or str(20_000 + int(job) % 10_000),  # jobs that share a machine differ
    }


def first_host(nodes: str) -> str:
    """The first host of a node list as SLURM writes it: "gpu[003-005,9],login1" is "gpu003"; "" is this machine."""
    first = re.match(r"([^,\[]*)(?:\[([^\]\-,]*)[^\]]*\]([^,]*))?", nodes.strip())
    return "".join(part or "" for part in first.groups()) if first and first[0] else "127.0.0.1"


def _step(env: Mapping[str, str]) -> Place:
    world = _number(env, "SLURM_STEP_NUM_TASKS")
    if world is None:
        return Place()
    rank = _number(env, "SLURM_PROCID") or 0
    local = _number(env, "SLURM_LOCALID")
    return _checked(Place(rank, world, rank if local is None else local, "SLURM"))


def _in_array(env: Mapping[str, str], step: Place) -> Place:
    """Tasks of the array, times the processes of each."""
    task, count = _number(env, "SLURM_ARRAY_TASK_ID"), _number(env, "SLURM_ARRAY_TASK_COUNT")
    if task is None or count is None:
        return step
    first, stride = _number(env, "SLURM_ARRAY_TASK_MIN") or 0, _number(env, "SLURM_ARRAY_TASK_STEP") or 1
    index, rest = divmod(task - first, stride)
    if rest or not 0 <= index < count:
        raise InputError(
            f"task {task} of a SLURM array of {count} tasks from {first} in steps of {stride}: its number among them "
            "is not known; number the tasks without gaps (--array=0-7), or set RANK and WORLD_SIZE"
        )
    return Place(index * step.world + step.rank, count * step.world, step.local, "a SLURM array")


def _number(env: Mapping[str, str], name: str) -> int | None:
    """None where the variable is not set or empty."""
    text = env.get(name, "").strip()
    if not text:
        return None
    try:
        return int(text)
    except ValueError as error:
        raise InputError(f"expected a number in {name}, got {text!r}") from error


def _checked(found: Place) -> Place:
    names = "SLURM_PROCID in 0..SLURM_STEP_NUM_TASKS-1" if found.source == "SLURM" else "RANK in 0..WORLD_SIZE-1"
    if not 0 <= found.rank < found.world:
        raise InputError(f"expected {names}, got {found.rank} of {found.world}")
    return found
