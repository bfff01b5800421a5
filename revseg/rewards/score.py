"""The weighted sum of rewards (Eq. 8) of a rollout, with its parts."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from revseg import checked
from revseg.errors import PartError, SpecError
from revseg.masks import MaskTrack
from revseg.registry import registry, spec_of
from revseg.spec import format_spec
from revseg.types import RewardBreakdown, Rollout

B = TypeVar("B", bound=Callable[..., Any])

Weights = Mapping[Any, float]  # from a spec or a callable to its weight

PRESETS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "eq8": {"format": 1.0, "temporal": 1.0, "spatial": 1.0},
        "fig4": {"format": 0.25, "temporal": 0.15, "spatial": 0.60},
    }
)
"""Named weights. `eq8` is the paper's Eq. 8. `fig4` is not stated there but implied by its training curves."""


def resolve_weights(weights: Any) -> Weights:
    """The weights of a preset, or the mapping itself once its weights are checked to be finite numbers.

    SpecError for anything else, since weights may come from records.
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


def batched(reward: B) -> B:
    """Decorator for a reward that judges many rollouts at once: `(rollouts, truths) -> list[float | None]`.

    For rewards that are cheaper in batches, such as a model on a GPU or a judge behind HTTP. None leaves the reward out
    of a rollout's breakdown.
    """
    reward.batched = True  # pyright: ignore[reportFunctionMemberAccess]
    return reward


@dataclass(frozen=True, eq=False)
class Rewards:
    """Rewards ready to use, with their names and weights."""

    parts: Mapping[str, Any]
    weights: Mapping[str, float]

    @staticmethod
    def build(weights: str | Weights) -> "Rewards":
        """From specs or callables to weights, or a preset's name. SpecError for what does not exist."""
        found = resolve_weights(weights)
        parts = {reward_name(reward): registry("reward").build(reward) for reward in found}
        return Rewards(parts, {reward_name(reward): float(weight) for reward, weight in found.items()})

    def __call__(self, rollouts: Sequence[Rollout], truths: Sequence[MaskTrack]) -> list[RewardBreakdown]:
        """Judges each rollout against the truth of its source video, which is reduced to the sampled frames here.

        InputError when a truth lacks one of these frames. PartError, naming the reward and the query, when a reward
        raises or gives anything but numbers in [0, 1].
        """
        pairs = [(r, truth.at(r.frame_ids)) for r, truth in zip(rollouts, truths, strict=True)]
        values: list[dict[str, float]] = [{} for _ in pairs]
        for name, part in self.parts.items():
            for row, value in zip(values, _judge(name, part, pairs), strict=True):
                if value is not None:
                    row[name] = value
        return [RewardBreakdown(row, {name: self.weights[name] for name in row}) for row in values]


def score(rollout: Rollout, truth: MaskTrack, rewards: str | Weights = "eq8") -> RewardBreakdown:
    """Judges one rollout by all rewards of a preset, or of a mapping from specs or callables to weights."""
    return Rewards.build(rewards)([rollout], [truth])[0]


def reward_name(reward: str | Callable[..., float]) -> str:
    """The name of a reward in breakdowns: its spec as written, or the import path of a callable."""
    spec = spec_of(reward)
    if isinstance(spec, Mapping):
        options = dict(spec)
        name = options.pop("name", None)
        return format_spec(name, options) if isinstance(name, str) else repr(reward)
    return str(spec)


def _judge(name: str, part: Any, pairs: Sequence[tuple[Rollout, MaskTrack]]) -> list[float | None]:
    if not _is_batched(part):
        return [_number(name, rollout, _called(name, rollout, part, rollout, truth)) for rollout, truth in pairs]
    if not pairs:
        return []
    given = _called(name, pairs[0][0], part, [rollout for rollout, _ in pairs], [truth for _, truth in pairs])
    if not isinstance(given, (list, tuple, np.ndarray)) or len(given) != len(pairs):
        came = f"{len(given)}" if hasattr(given, "__len__") else f"{type(given).__name__} {given!r}"
        raise PartError(f"reward {name!r}: expected a list of {len(pairs)} numbers, one per rollout; got {came}")
    return [None if v is None else _number(name, r, v) for v, (r, _) in zip(given, pairs, strict=True)]


def _is_batched(part: Any) -> bool:
    """True also for a decorated function with options bound, and for an object whose class is decorated."""
    return bool(getattr(part.func if isinstance(part, functools.partial) else part, "batched", False))


def _called(name: str, rollout: Rollout, part: Any, *arguments: Any) -> Any:
    try:
        return part(*arguments)
    except Exception as error:
        raise PartError(f"reward {name!r} on query {rollout.query.id!r} raised {error!r}") from error


def _number(name: str, rollout: Rollout, value: Any) -> float:
    return checked.number(f"reward {name!r} on query {rollout.query.id!r}", value)
