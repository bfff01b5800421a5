"""Lets verl 0.9.1 run whole GRPO steps on CPUs: gloo, FSDP2, and a server of transformers. For tests alone.

Loaded by verl itself: VERL_PLATFORM=cpu VERL_USE_EXTERNAL_MODULES=cpu_platform VERL_ENGINE_DEVICE=cuda. With
REVSEG_DUMP=FOLDER the trainer's batches, gradients and weights are written there.
"""

# pyright: reportMissingImports=false

import os
from contextlib import nullcontext
from typing import Any

import torch
import verl.utils.distributed as distributed
import verl.utils.fsdp_utils as fsdp
import verl.workers.rollout.base as rollout
from verl.plugin.platform import PlatformBase, PlatformRegistry
from verl.workers.rollout.replica import RolloutReplicaRegistry


class NoDevice:
    """torch.cuda's functions on a CPU: figures are 0, actions do nothing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_, **__: 0

    def is_available(self) -> bool:
        return False

    def get_device_name(self, *_: Any) -> str:
        return "CPU"

    def mem_get_info(self, *_: Any) -> tuple[int, int]:
        return 1 << 33, 1 << 34

    def get_rng_state(self, *_: Any) -> torch.Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: torch.Tensor, *_: Any) -> None:
        torch.set_rng_state(state)

    def current_device(self) -> torch.device:
        return torch.device("cpu")


def _gives(value: Any) -> Any:
    return lambda self, *_, **__: value


@PlatformRegistry.register(platform="cpu")
class PlatformCPU(PlatformBase):
    """A platform without a device. Ray believes in the GPUs that `ray_init.num_gpus` declares."""

    device_name, vendor_name, device_module = "cpu", "generic", NoDevice()
    is_available = is_platform_available = _gives(True)
    current_device = _gives(torch.device("cpu"))  # not 0: tensors are moved with .to(get_device_id())
    device_count = _gives(1)
    set_device = synchronize = set_allocator_settings = empty_cache = _gives(None)
    profiler_start = profiler_stop = cudart = _gives(None)
    get_device_capability = _gives((None, None))
    communication_backend_name = _gives("gloo")
    visible_devices_envvar = _gives("CUDA_VISIBLE_DEVICES")
    ray_resource_name = _gives("GPU")
    is_ipc_supported = _gives(False)

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    manual_seed_all = manual_seed

    def nvtx_range(self, msg: str) -> Any:
        return nullcontext()

    def ray_noset_envvars(self) -> list[str]:
        return []


def init_group(timeout_second: int | None = None, backend: str | None = None) -> None:
    """verl asks for `cpu:gloo,cpu:gloo`, which torch refuses."""
    import torch.distributed as dist

    if not dist.is_initialized():
        rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        dist.init_process_group("gloo", rank=rank, world_size=world, init_method=os.environ.get("DIST_INIT_METHOD"))


class Unpinned(fsdp.CPUOffloadPolicy):
    """Pinned memory needs a driver."""

    def __init__(self, pin_memory: bool = True) -> None:
        super().__init__(pin_memory=False)


def replica() -> Any:
    from hf_server import HFReplica

    return HFReplica


distributed.initialize_global_process_group_ray = init_group
fsdp.CPUOffloadPolicy = Unpinned
rollout._ROLLOUT_REGISTRY[("hf", "async")] = "hf_server.HFAdapter"
RolloutReplicaRegistry.register("hf", replica)


def dump_to(folder: str) -> None:
    """Writes batch, gradients and weights of every step: batchN_rankR.pt, beforeN.pt, gradsN.pt, afterN.pt."""
    import verl.workers.engine.fsdp.transformer_impl as engine
    from torch.distributed.tensor import DTensor

    take, run, count = engine.FSDPEngine.optimizer_step, engine.FSDPEngine.forward_backward_batch, [0]

    def full(tensor: torch.Tensor) -> torch.Tensor:
        return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().cpu().clone()

    def save(name: str, tensors: dict[str, torch.Tensor]) -> None:
        whole = {key: full(tensor) for key, tensor in tensors.items()}
        if torch.distributed.get_rank() == 0:
            torch.save(whole, os.path.join(folder, name))

    def step(self: Any) -> Any:
        count[0] += 1
        save(f"before{count[0]}.pt", self.module.state_dict())
        save(f"grads{count[0]}.pt", {k: p.grad for k, p in self.module.named_parameters() if p.grad is not None})
        norm = take(self)
        save(f"after{count[0]}.pt", self.module.state_dict())
        return norm

    def batch(self: Any, data: Any, loss_function: Any, forward_only: bool = False) -> Any:
        if not forward_only:
            name = f"batch{count[0] + 1}_rank{torch.distributed.get_rank()}.pt"
            torch.save(data.clone(), os.path.join(folder, name))
        return run(self, data, loss_function, forward_only)

    engine.FSDPEngine.optimizer_step, engine.FSDPEngine.forward_backward_batch = step, batch


if os.environ.get("REVSEG_DUMP"):
    dump_to(os.environ["REVSEG_DUMP"])
