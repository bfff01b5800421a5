"""Which specs may run code: your own may, specs that came with data may not.

A spec that you type or write into your program may name anything that can be imported. A spec that came with weights or
results (the defaults of a checkpoint, a record, the header of a results file) may only name **registered parts with
plain options**: no file or module to import, no server's address, no file beside weights and data. Only you can lift
this restriction: `trust=True` in Python, `--trust` on the command line.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from revseg.errors import SpecError
from revseg.spec import is_import_path, parse_spec

_LIGHT = ("plan", "prompt", "parser", "reward", "sampler", "objective")  # kinds without weights or data to load
_OWN = ("api_key", "base_url", "path")  # options that send your data, or read it
_DEEPEST = 20


def check_foreign(kind: str, spec: Any, source: str, trust: str) -> None:
    """SpecError if a spec from `source` names more than a registered part with plain options.

    `trust` is how to allow it, for the message: "pass trust=True". Objects pass, because no file can contain them.
    """
    if isinstance(spec, str):
        name, options = parse_spec(spec)
    elif isinstance(spec, Mapping):
        name, options = spec.get("name"), {key: value for key, value in spec.items() if key != "name"}
    else:
        return
    found = f"{name!r}, which is code" if isinstance(name, str) and ":" in name else _reach(kind, "", options)
    if found:
        raise SpecError(
            f"{source} names as {kind} {found}: data from elsewhere may name registered parts with plain options "
            f"only; if you trust it, {trust}"
        )


def check_foreign_settings(settings: Mapping[str, Any], source: str, trust: str) -> None:
    """`check_foreign` for every part in the settings of a `ReVSeg`."""
    if "trust" in settings:
        raise SpecError(f"{source} sets trust, which is yours to give: {trust}")
    for kind in ("policy", "tracker", "sampler"):
        check_foreign(kind, settings.get(kind), source, trust)
    plan, rewards = settings.get("plan"), settings.get("rewards")
    check_foreign("plan", plan, source, trust)
    for pair in plan if isinstance(plan, list | tuple) else ():
        for kind, part in zip(("prompt", "parser"), pair if isinstance(pair, list | tuple) else (), strict=False):
            check_foreign(kind, part, source, trust)
    for reward in rewards if isinstance(rewards, Mapping) else ():
        check_foreign("reward", reward, source, trust)


def taught_settings(defaults: Mapping[str, Any], names: Sequence[str], trust: bool) -> dict[str, Any]:
    """Of these settings of a `ReVSeg` the ones that a policy's `defaults` have, checked unless there is `trust`."""
    if "rounds" in defaults:  # what checkpoints of before the plans call a fixed one
        defaults = {"plan": defaults["rounds"], **defaults}
    taught = {name: defaults[name] for name in names if defaults.get(name) is not None}
    if not trust:
        how = "set trust=True in ReVSeg (--trust on the command line), or give plan and sampler yourself"
        check_foreign_settings(taught, "what the policy was taught", how)
    return taught


def _reach(kind: str, option: str, value: Any, depth: int = 0) -> str:
    """What an option's value gives access to beyond the part itself, in words; "" for nothing."""
    if depth > _DEEPEST:
        return f"{option} nested deeper than any part takes"
    if option in _OWN or option.startswith("trust"):
        return f"{option}={value!r:.80}, which is yours to choose"
    if isinstance(value, Mapping):
        pairs = [(option, key) for key in value] + [(str(key), item) for key, item in value.items()]
        return next((found for pair in pairs if (found := _reach(kind, *pair, depth + 1))), "")
    if isinstance(value, list | tuple):
        return next((found for item in value if (found := _reach(kind, option, item, depth + 1))), "")
    return _reach_of_text(kind, option, value, depth) if isinstance(value, str) else ""


def _reach_of_text(kind: str, option: str, text: str, depth: int) -> str:
    try:
        name, options = parse_spec(text)
    except SpecError:  # plain text
        name, options = "", {}
    if is_import_path(name):
        return f"{option}={text!r:.80}, which is code"
    if "://" in text:
        return f"{option}={text!r:.80}, which is an address"
    light = kind in _LIGHT or option == "attention"  # attention may name a kernel on the hub
    if light and ("/" in text or "\\" in text):
        return f"{option}={text!r:.80}, which is somewhere else"
    return _reach(kind, option, options, depth + 1)
