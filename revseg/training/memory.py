"""Whether a training run can fit its device, checked before any weights are loaded.

Counted is what a run needs at all times: weights, gradients, the optimizer's moments and the reference. Activations and
caches are left out, because they depend on the batch and can be made small. So a run that passes may still run out of
memory, but a run that is refused cannot fit.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from revseg.errors import InputError
from revseg.policies.checkpoints import weights_of
from revseg.registry import read_spec, registry, spec_of
from revseg.training.config import TrainConfig
from revseg.training.device_memory import free_memory
from revseg.training.trainable import reference_kind
from revseg.types import CountsWeights, WeightCounts

ENGINE = "a model that no GPU holds whole belongs to an engine that divides it over several, such as verl"


def check_memory(policy: Any, config: TrainConfig, beta: float) -> None:
    """InputError, with the arithmetic, when training the policy of that spec cannot fit its device.

    `beta` is the weight of the KL, which decides whether there is a reference. Policies that cannot count their
    weights, configurations that cannot be read (loading says why) and devices of unknown free memory pass.
    """
    known = counted(policy) if config.check_memory else None
    if known is None:
        return
    options, counts = known
    place, free = free_memory(str(options.get("device", "auto")), spread=options.get("device_map") is not None)
    if free is None:
        return
    on_gpu = place != "the CPU"
    parts = needed(counts, config, beta, options, on_gpu=on_gpu)
    if sum(parts.values()) <= free:
        return
    ways = []
    if "reference" in parts:
        ways += ["the objective's beta=0 needs no reference" + (", train.reference=cpu keeps it there" * on_gpu)]
    if not config.lora_rank and not options.get("adapter"):
        small = needed(counts, replace(config, lora_rank=16, reference="auto"), beta, options, on_gpu=on_gpu)
        ways += [f"adapters alone (train.lora_rank=16) hold {_gb(sum(small.values()))}"]
    ways += [ENGINE] if on_gpu else []
    raise InputError(
        f"training {spec_of(policy)} holds {_gb(sum(parts.values()))} per process before any activation "
        f"({counts.all / 1e9:.2f} billion weights: {', '.join(f'{n} {_gb(v)}' for n, v in parts.items())}), but "
        f"{place} has {_gb(free)} free: {'; '.join([*ways, 'train.check_memory=false starts it all the same'])}"
    )


def needed(
    counts: WeightCounts, config: TrainConfig, beta: float, options: Mapping[str, Any], *, on_gpu: bool
) -> dict[str, float]:
    """Bytes per process by part: weights, gradients, moments and, unless it is on another device, the reference.

    Trained weights are float32, which training demands; a base under adapters has the dtype that it is loaded in.
    """
    apart = bool(config.lora_rank or options.get("adapter"))
    base = counts.all * (_bytes(options, on_gpu) if apart else 4)
    trained = counts.per_rank * config.lora_rank if apart else counts.all - counts.vision * config.freeze_vision
    moments = 2 if config.optimizer == "adamw" else 1  # Muon keeps one for its matrices, which are nearly all
    adapters = trained * 4 if apart else 0
    parts = {
        "weights": base + adapters,
        "gradients": trained * 4.0,
        f"{config.optimizer}'s moments": trained * 4.0 * moments,
    }
    kind = reference_kind(config)
    if beta > 0 and (kind == "copy" or (kind == "cpu" and not on_gpu)):
        parts["reference"] = base + adapters
    return parts


def counted(policy: Any) -> tuple[dict[str, Any], WeightCounts] | None:
    """The options of a policy's spec and the counts of the weights that they name; None where these are not known."""
    weights = weights_of(policy)
    if weights is None:
        return None
    name, options = read_spec("policy", policy)
    part, model = registry("policy").get(name), next(iter(weights.values()))
    if not isinstance(part, CountsWeights) or not isinstance(model, str | None):
        return None
    counts = part.count_weights(model)
    return None if counts is None else (options, counts)


def _bytes(options: Mapping[str, Any], on_gpu: bool) -> int:
    dtype = options.get("dtype", "auto")
    if dtype == "auto":
        return 2 if on_gpu or options.get("device_map") is not None else 4
    return {"float64": 8, "float32": 4}.get(dtype, 2)


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
