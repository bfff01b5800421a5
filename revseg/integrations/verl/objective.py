"""An objective as verl's options: what both compute alike, and nothing else."""

from collections.abc import Mapping
from typing import Any

from revseg.errors import InputError
from revseg.objectives.objective import Objective
from revseg.registry import build

NO_DUAL_CLIP = 1e9  # verl always has one

PIECES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "advantage": {
        "grpo": {"algorithm.adv_estimator": "grpo", "algorithm.norm_adv_by_std_in_grpo": True},
        "dr_grpo": {"algorithm.adv_estimator": "grpo", "algorithm.norm_adv_by_std_in_grpo": False},
    },
    "policy_loss": {"ppo_clip": {"actor_rollout_ref.actor.policy_loss.loss_mode": "vanilla"}},
    "kl": {"k3": {"actor_rollout_ref.actor.kl_loss_type": "low_var_kl"}},
    "aggregation": {
        "seq_mean_token_mean": {"actor_rollout_ref.actor.loss_agg_mode": "seq-mean-token-mean"},
        "token_mean": {"actor_rollout_ref.actor.loss_agg_mode": "token-mean"},
    },
}
ONLY = {
    "kl_place": "loss",
    "kl_unbiased": False,
    "delta": None,
    "std_eps": 1e-6,
    "dynamic_sampling": False,
    "overlong_filter": False,
    "weigh_components": False,
}


def objective_options(spec: Any) -> dict[str, Any]:
    """The options for an objective's spec. InputError for one that verl does not have, or has in another form."""
    objective = build("objective", spec)
    if not isinstance(objective, Objective):
        raise InputError(f"verl cannot follow objective={spec!r}: expected one of the built-in pieces")
    options: dict[str, Any] = {}
    for field, known in PIECES.items():
        piece = getattr(objective, field)
        if not isinstance(piece, str) or piece not in known:
            raise InputError(
                f"verl cannot follow objective={spec!r}: {field} is {piece!r}, known here are {', '.join(known)}"
            )
        options.update(known[piece])
    for field, value in ONLY.items():
        if (given := getattr(objective, field)) != value:
            raise InputError(f"verl cannot follow objective={spec!r}: it has no {field}={given!r}, only {value!r}")
    actor = "actor_rollout_ref.actor"
    low = 0.2 if objective.clip_low is None else objective.clip_low
    high = 0.2 if objective.clip_high is None else objective.clip_high
    options |= {f"{actor}.clip_ratio": low, f"{actor}.clip_ratio_low": low, f"{actor}.clip_ratio_high": high}
    options[f"{actor}.clip_ratio_c"] = objective.dual_clip or NO_DUAL_CLIP
    options |= {f"{actor}.use_kl_loss": objective.beta > 0, f"{actor}.kl_loss_coef": objective.beta}
    return options
