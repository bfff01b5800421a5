"""From a rollout and the truth to one number: the weighted sum of Eq. 8, with its parts."""

import functools
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from revseg import checked
from revseg.errors import PartError, SpecError
from revseg.masks import MaskTrack
from revseg.registry import registry, spec_of
from revseg.spec import format_spec
from revseg.types import Reward, RewardBreakdown, Rollout

Weights = Mapping[Any, float]  # a spec, or the callable itself, to its weight

PRESETS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "eq8": {"format": 1.0, "temporal": 1.0, "spatial": 1.0},
        "fig4": {"format": 0.25, "temporal": 0.15, "spatial": 0.60},
    }
)
"""Named weights. `eq8` is the paper's Eq. 8. `fig4` is not stated there: its published training curves imply it."""


def resolve_weights(weights: Any) -> Weights:
    """The weights that a preset's name stands for, or the mapping itself after a check that its weights are numbers.

    SpecError for anything else: records hold them too.
    """
    if isinstance(weights, str):
        if weights not in PRESETS:
            raise SpecError(
                f"unknown reward preset {weights!r}: expected a mapping of rewards, or {', '.join(PRESETS)}"
            )
        return dict(PRESETS[weights])
    if not isinstance(weights, Mapping):
        raise SpecError(f"expected rewards as a mapping to their weights or a preset's name, got {weights!r:.80}")
    for reward, weight in weights.items():
        number = isinstance(weight, (int, float, np.integer, np.floating)) and not isinstance(weight, bool)
        if not number or not math.isfinite(weight):
            raise SpecError(f"the weight of reward {reward_name(reward)!r}: expected a finite number, got {weight!r}")
    return weights


def score(rollout: Rollout, truth: MaskTrack, rewards: str | Weights = "eq8") -> RewardBreakdown:
    """Judge one rollout by every reward of `rewards` (spec or callable to weight, or a preset's name).

    `truth` is the truth of the source video; it is cut to the clip's frames once, here. InputError when it lacks one
    of them. PartError, naming the reward and the query, when a reward raises or gives anything but a number in [0, 1].
    """
    weights = resolve_weights(rewards)
    aligned = truth.at(rollout.clip.frame_ids)
    values = {reward_name(reward): _judge(reward, rollout, aligned) for reward in weights}
    return RewardBreakdown(values, {reward_name(reward): float(weight) for reward, weight in weights.items()})


def reward_name(reward: str | Callable[..., float]) -> str:
    """What a breakdown calls a reward: its spec as written, or the import path of a callable."""
    spec = spec_of(reward)
    if isinstance(spec, Mapping):
        options = dict(spec)
        name = options.pop("name", None)
        return format_spec(name, options) if isinstance(name, str) else repr(reward)
    return str(spec)


def _judge(reward: str | Callable[..., float], rollout: Rollout, truth: MaskTrack) -> float:
    name = reward_name(reward)
    where = f"reward {name!r} on query {rollout.query.id!r}"
    part = _part(reward)
    try:
        value: Any = part(rollout, truth)
    except Exception as error:
        raise PartError(f"{where} raised {error!r}") from error
    return checked.number(where, value)


def _part(reward: str | Callable[..., float]) -> Reward:
    if isinstance(reward, str) and ".py:" in reward:
        return _from_file(reward)
    return registry("reward").build(reward)


@functools.lru_cache(maxsize=64)
def _from_file(spec: str) -> Reward:
    """Once per process: building a spec that names a file runs the file."""
    return registry("reward").build(spec)
