"""What a policy, an object or a spec, says of itself without loading weights: what it was taught, and its geometry."""

from collections.abc import Callable, Mapping
from typing import Any

from revseg.errors import InputError
from revseg.registry import options_of, registry
from revseg.types import Geometry, HasDefaults, ReadsDefaults, ReadsGeometry


def defaults_of(policy: Any, build: Callable[[], Any]) -> Mapping[str, Any]:
    """The `defaults` of a policy, an object or a spec; {} for one that has none.

    A spec's class that declares `defaults_of` is asked, so that nothing is built. `build` makes the policy of any other
    spec. SpecError for a spec that `build` would refuse. The settings may come from a file beside weights: they are
    data from elsewhere, see `revseg.untrusted.trust`.
    """
    found: Any = None
    if isinstance(policy, str | Mapping):
        part, options = registry("policy").checked(policy)
        if isinstance(part, ReadsDefaults):
            found = part.defaults_of(options)
        else:
            policy = build()
    if isinstance(policy, HasDefaults):
        found = policy.defaults
    if found is not None and not isinstance(found, Mapping):
        raise InputError(f"expected what {policy!r:.200} was taught as settings by name, got {found!r:.80}")
    return found or {}


def geometry_of(policy: Any) -> Geometry:
    """How a policy, an object or a spec, writes coordinates, and which sizes of pictures it reads; nothing is built.

    A class that declares `geometry_of` is asked. Any other policy has attributes `coords` and `side`, or an option
    `coords`; what it lacks is pixels and any size. SpecError for a spec that `build` would refuse.
    """
    if not isinstance(policy, str | Mapping):
        return Geometry(getattr(policy, "coords", "pixel"), getattr(policy, "side", 1))
    part, options = registry("policy").checked(policy)
    if isinstance(part, ReadsGeometry):
        return part.geometry_of(options)
    option = options_of(part).get("coords")
    default = getattr(part, "coords", "pixel") if option is None else option.default
    return Geometry(options.get("coords", default), getattr(part, "side", 1))
