"""What a training run will be, worked out before it starts: tokens, batches, epochs, memory. No weights are loaded."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from revseg.errors import InputError, MissingExtraError
from revseg.objectives.completed import completed
from revseg.pipeline import ReVSeg
from revseg.registry import build, options_of, read_spec, registry, spec_of
from revseg.training.config import TrainConfig
from revseg.training.device_memory import free_memory
from revseg.training.memory import ENGINE, counted, needed
from revseg.training.processes import check_shares
from revseg.training.rollouts import with_truth
from revseg.training.trainable import reference_kind
from revseg.types import CountsTokens, Dataset

LOOKED_AT = 8  # samples, spread over the dataset, whose conversations are counted


def dry_run(model: ReVSeg, dataset: Any, config: TrainConfig, processes: int = 1) -> dict[str, Any]:
    """The resolved run as plain JSON; `plan_text` writes it for people.

    "tokens" and "memory" are None where they cannot be known, with the reason in "unknown". The conversations counted
    are those of `oracle`, so the number of rounds is that of good answers.
    """
    objective, data = completed(build("objective", config.objective)), build("dataset", dataset)
    check_shares(config, processes)
    if not len(data):
        raise InputError("the dataset is empty: nothing to train on")
    conversations = config.queries_per_step * config.group_size // processes
    unknown: list[str] = []
    tokens = _tokens(model, data, config, unknown)
    found = {
        "policy": spec_of(model.policy),
        "dataset": spec_of(dataset),
        "queries": len(data),
        "processes": processes,
        "steps": config.steps,
        "steps_per_epoch": len(data) / config.queries_per_step,
        "epochs": config.steps * config.queries_per_step / len(data),
        "conversations_per_step": config.queries_per_step * config.group_size,
        "conversations_at_a_time": _at_a_time(model.policy, config, conversations),
        "tokens": tokens,
        "forwards_per_update": None,
        "reference": reference_kind(config) if objective.beta > 0 else None,
        "memory": _memory(model.policy, config, objective.beta, unknown),
        "unknown": unknown,
    }
    if tokens is not None:
        rows = max(1, config.max_tokens_per_forward // tokens["most"])
        found["forwards_per_update"] = math.ceil(conversations / rows)
    return found


def plan_text(plan: Mapping[str, Any]) -> str:
    """Some lines for people."""
    lines = [
        f"{plan['policy']} on {plan['queries']} queries of {plan['dataset']}",
        f"steps: {plan['steps']}, {plan['steps_per_epoch']:.1f} per epoch: {plan['epochs']:.2f} epochs",
        f"a step: {plan['conversations_per_step']} conversations in {plan['processes']} process(es), "
        f"{plan['conversations_at_a_time']} generated at a time in each",
    ]
    tokens, memory = plan["tokens"], plan["memory"]
    if tokens is not None:
        lines += [
            f"tokens of a conversation: {tokens['pictures']} of pictures, {tokens['text']} of text, and replies of up "
            f"to {tokens['rounds']} x {tokens['reply_limit']}: at most {tokens['most']}",
            f"an update: up to {plan['forwards_per_update']} forwards in each process, of at most "
            f"{max(tokens['most'], tokens['per_forward'])} tokens",
        ]
    if memory is not None:
        parts = ", ".join(f"{name} {size:.3g}" for name, size in memory["gpu_gb"].items())
        lines += [
            f"GB on each GPU before any activation: {sum(memory['gpu_gb'].values()):.3g} ({parts}), reference: "
            f"{plan['reference'] or 'none'}",
            _here(memory),
        ]
    return "\n".join([*lines, *plan["unknown"]])


def _here(memory: Mapping[str, Any]) -> str:
    if memory["free_gb"] is None:
        return f"here: the free memory of {memory['place']} is not known"
    fits = "fits" if memory["fits"] else f"does not fit; {ENGINE}"
    return f"here: {memory['here_gb']:.3g} GB needed, {memory['place']} has {memory['free_gb']:.1f} GB free: {fits}"


def _tokens(model: ReVSeg, data: Dataset, config: TrainConfig, unknown: list[str]) -> dict[str, int] | None:
    """The most that any of the conversations looked at has of each."""
    known = _part(model.policy)
    if known is None or not isinstance(known[0], CountsTokens):
        unknown.append("tokens: not known for this policy")
        return None
    places = np.unique(np.linspace(0, len(data) - 1, LOOKED_AT).round().astype(int))
    samples = [with_truth(data, int(place)) for place in places]
    settled = model.resolved()
    rollouts = [group[0] for group in settled.replace(policy="oracle").rollouts(samples)]
    try:
        counts = known[0].count_tokens(known[1], rollouts)
    except (InputError, MissingExtraError) as error:
        unknown.append(f"tokens: {error}")
        return None
    rounds = max(len(rollout.turns) for rollout in rollouts)
    prompts = max(count.pictures + count.text for count in counts)
    return {
        "pictures": max(count.pictures for count in counts),
        "text": max(count.text for count in counts),
        "rounds": rounds,
        "reply_limit": config.max_new_tokens,
        "most": prompts + rounds * config.max_new_tokens,
        "per_forward": config.max_tokens_per_forward,
    }


def _memory(policy: Any, config: TrainConfig, beta: float, unknown: list[str]) -> dict[str, Any] | None:
    known = counted(policy)
    if known is None:
        unknown.append("memory: the weights of this policy cannot be counted")
        return None
    options, counts = known
    place, free = free_memory(str(options.get("device", "auto")), spread=options.get("device_map") is not None)
    here = sum(needed(counts, config, beta, options, on_gpu=place != "the CPU").values())
    parts = needed(counts, config, beta, options, on_gpu=True)
    return {
        "weights": counts.all,
        "gpu_gb": {name: size / 1e9 for name, size in parts.items()},
        "place": place,
        "here_gb": here / 1e9,
        "free_gb": None if free is None else free / 1e9,
        "fits": None if free is None else here <= free,
    }


def _at_a_time(policy: Any, config: TrainConfig, conversations: int) -> int:
    """As `judge` has it: whole groups, by the policy's option `batch_size`."""
    known = _part(policy)
    size = conversations
    if known is not None:
        default = options_of(known[0]).get("batch_size")
        size = int(known[1].get("batch_size", conversations if default is None else default.default))
    return min(conversations, max(1, size // config.group_size) * config.group_size)


def _part(policy: Any) -> tuple[Any, dict[str, Any]] | None:
    """Class and options of a policy that is given as a spec."""
    if not isinstance(policy, str | Mapping):
        return None
    return registry("policy").part(policy), read_spec("policy", policy)[1]
