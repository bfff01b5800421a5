"""The settings of a conversation that a policy was taught: of an object, or of a spec, without loading weights."""

from collections.abc import Callable, Mapping
from typing import Any

from revseg.errors import InputError
from revseg.registry import registry
from revseg.types import HasDefaults, ReadsDefaults


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
