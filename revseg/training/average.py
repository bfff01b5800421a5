"""The weighted mean of trained policies."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from revseg.errors import InputError
from revseg.output import check_writable
from revseg.registry import build
from revseg.training.folder import check_no_model, save_policy, spec_after
from revseg.training.trainable import trainable
from revseg.types import TrainablePolicy


def average(policies: Mapping[str, float], out: str | Path) -> str:
    """Write the policy whose weights are the mean of the given ones into `out`; its spec.

    `policies` gives to each policy's spec its share, above 0; shares are divided by their sum. It makes sense for
    policies that training made of one checkpoint: half of what RL moved a policy can be better than all of it
    (WiSE-FT, arXiv 2109.01903; for rewarded policies WARP, arXiv 2406.16768). Reads one policy at a time beside the
    mean. InputError for no policies, a share that is not positive, policies that differ in the names or shapes of
    their weights or in what they were taught, adapters that are not merged, and an `out` that holds a model;
    OutputError where it cannot be written.
    """
    out = Path(out)
    if not policies or not all(share > 0 for share in policies.values()):
        raise InputError(f"shares must be above 0, of one policy or more; got {dict(policies)}")
    check_no_model(out, "the mean")
    check_writable(out)
    (first, *others), whole = policies, sum(policies.values())
    mean: Any = build("policy", first)
    total = _scaled(mean, first, policies[first] / whole)
    for spec in others:
        policy = build("policy", spec)
        more = _scaled(policy, spec, policies[spec] / whole)
        _check_alike(mean, total, policy, more, (first, spec))
        for name, value in more.items():
            total[name] += value
    mean.model.load_state_dict(total)
    save_policy(mean, out)
    return spec_after(first, out)


def _scaled(policy: Any, spec: str, share: float) -> dict[str, Any]:
    """The weights times the share, float64, so that equal policies have exactly their own mean."""
    if not isinstance(policy, TrainablePolicy) or trainable(policy).has_adapters:
        raise InputError(f"cannot average {spec}: expected a policy with weights of its own, adapters merged into them")
    return {name: value.double() * share for name, value in policy.model.state_dict().items()}


def _check_alike(
    mean: Any, total: Mapping[str, Any], policy: Any, more: Mapping[str, Any], specs: tuple[str, str]
) -> None:
    shapes, others = ({name: tuple(value.shape) for name, value in state.items()} for state in (total, more))
    unlike = sorted(name for name in {*shapes, *others} if shapes.get(name) != others.get(name))
    if unlike:
        name = unlike[0]
        raise InputError(
            f"cannot average {specs[0]} and {specs[1]}: {name} has shape {shapes.get(name)} in one and "
            f"{others.get(name)} in the other; expected policies that were trained from one checkpoint"
        )
    taught, other = (dict(trainable(one).defaults) for one in (mean, policy))
    if taught != other:
        raise InputError(
            f"cannot average {specs[0]} and {specs[1]}: they were taught {taught} and "
            f"{other}; expected the same plan, sampler and number of frames"
        )
