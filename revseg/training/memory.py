"""Whether a training run can fit its device, said before any weights are loaded.

What is counted is what a run holds at all times: weights, gradients, the optimizer's moments and the reference. What a
forward needs on top (activations, caches) depends on the batch and can be made small, so that it is left out: a run
that passes may still run out of memory, one that is refused cannot fit.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from revseg.device_memory import free_memory
from revseg.errors import InputError
from revseg.registry import spec_of
from revseg.rollout.bundled import bundled
from revseg.spec import parse_spec
from revseg.training.config import TrainConfig
from revseg.training.trainable import reference_kind

ADAPTED = re.compile(r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)")


@dataclass(frozen=True)
class Counts:
    """Numbers of weights: all, those of the vision tower, and those of LoRA adapters of rank 1."""

    all: int
    vision: int
    per_rank: int


def check_memory(policy: Any, config: TrainConfig, beta: float) -> None:
    """InputError, with the arithmetic, when training what the spec `policy` names cannot fit where it will lie.

    `beta` is the weight of the KL, which decides whether there is a reference. Nothing is said of a policy that is no
    `qwen` spec, of a configuration that cannot be read (loading will say why), or where free memory is not known.
    """
    options = _options(policy)
    if options is None or not config.check_memory:
        return
    model = options.get("model")
    counts = count_weights(str(bundled(model) or model)) if isinstance(model, str | None) else None
    place, free = free_memory(str(options.get("device", "auto")), spread=options.get("device_map") is not None)
    if counts is None or free is None:
        return
    on_gpu = place != "the CPU"
    parts = needed(counts, config, beta, options, on_gpu=on_gpu)
    if sum(parts.values()) <= free:
        return
    ways = []
    if "reference" in parts:
        ways += ["the objective's beta=0 needs no reference" + (", train.reference=cpu keeps it there" * on_gpu)]
    if not config.lora and not options.get("adapter"):
        small = needed(counts, replace(config, lora=16, reference="auto"), beta, options, on_gpu=on_gpu)
        ways += [f"adapters alone (train.lora=16) hold {_gb(sum(small.values()))}"]
    raise InputError(
        f"training {spec_of(policy)} holds {_gb(sum(parts.values()))} a process before any activation "
        f"({counts.all / 1e9:.2f} billion weights: {', '.join(f'{n} {_gb(v)}' for n, v in parts.items())}), but "
        f"{place} has {_gb(free)} free: {'; '.join([*ways, 'train.check_memory=false starts it all the same'])}"
    )


def needed(
    counts: Counts, config: TrainConfig, beta: float, options: Mapping[str, Any], *, on_gpu: bool
) -> dict[str, float]:
    """Bytes a process by part: weights, gradients, moments and, unless it lies elsewhere, the reference.

    What is trained is held in float32, which training demands; a base under adapters in the dtype that it is loaded in.
    """
    apart = bool(config.lora or options.get("adapter"))
    base = counts.all * (_bytes(options, on_gpu) if apart else 4)
    trained = counts.per_rank * config.lora if apart else counts.all - counts.vision * config.freeze_vision
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


def count_weights(folder: str) -> Counts | None:
    """Of the model that `config.json` in a folder or on the hub describes, which is built without memory for weights.

    None when there is no such configuration or it is of another model.
    """
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    try:
        settings = Qwen2_5_VLConfig.get_config_dict(folder)[0]
        if settings.get("model_type") != Qwen2_5_VLConfig.model_type:
            return None
        config = Qwen2_5_VLConfig.from_dict(settings)
        with torch.device("meta"):
            model: Any = Qwen2_5_VLForConditionalGeneration(config)
    except Exception:  # whatever is wrong with it, loading says it better than a guess at the memory
        return None
    layers = [m.weight.shape for name, m in model.named_modules() if ADAPTED.fullmatch(name)]
    vision = sum(p.numel() for p in model.model.visual.parameters())
    return Counts(sum(p.numel() for p in model.parameters()), vision, sum(sum(shape) for shape in layers))


def _options(policy: Any) -> dict[str, Any] | None:
    """The options of a `qwen` spec; None for another policy."""
    if isinstance(policy, str) and policy.partition(":")[0] == "qwen":
        return parse_spec(policy)[1]
    if isinstance(policy, Mapping) and policy.get("name") == "qwen":
        return {key: value for key, value in policy.items() if key != "name"}
    return None


def _bytes(options: Mapping[str, Any], on_gpu: bool) -> int:
    dtype = options.get("dtype", "auto")
    if dtype == "auto":
        return 2 if on_gpu or options.get("device_map") is not None else 4
    return {"float64": 8, "float32": 4}.get(dtype, 2)


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
