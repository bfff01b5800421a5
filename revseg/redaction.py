"""Keys and passwords are left out of recorded specs.

A part names its secret options: `secrets = ("api_key", "base_url")` on its class or function. A secret address keeps
its scheme, host and path. Any other secret option is left out, so that a part built from the record takes it from its
usual place, such as an environment variable.
"""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from revseg.errors import SpecError
from revseg.spec import format_spec, parse_spec

_LOGIN = re.compile(r"(?<=://)[^/?#\s@]*@")

SecretsOf = Callable[[str], Collection[str]]


def public(value: Any, secrets_of: SecretsOf) -> Any:
    """A spec, or a value of one, without its secrets; the same object when it holds none.

    `secrets_of` returns the secret options of a part by its name. Logins are removed from addresses in every option.
    """
    if isinstance(value, str):
        return _text(value, secrets_of)
    if isinstance(value, Mapping):
        name = value.get("name")
        secrets = secrets_of(name) if isinstance(name, str) else ()
        changed = _options(value, secrets, secrets_of)
        return value if changed == dict(value) else changed
    if isinstance(value, list | tuple):
        items = [public(item, secrets_of) for item in value]
        return value if all(a is b for a, b in zip(items, value, strict=True)) else type(value)(items)
    return value


def without_secrets(address: str) -> str:
    """An address without its login, query and fragment (before "@", after "?" or "#")."""
    scheme, mark, rest = address.partition("://")
    if not mark:
        scheme, rest = "", address
    return scheme + mark + re.split(r"[?#]", rest.rpartition("@")[2], maxsplit=1)[0]


def without_logins(text: str) -> str:
    """Any text without the user names and passwords of the addresses in it."""
    return _LOGIN.sub("", text) if "@" in text else text


def _text(spec: str, secrets_of: SecretsOf) -> str:
    if "=" not in spec:
        return without_logins(spec)
    try:
        name, options = parse_spec(spec)
    except SpecError:
        return without_logins(spec)
    changed = _options(options, secrets_of(name), secrets_of)
    return without_logins(spec if changed == options else format_spec(name, changed))


def _options(options: Mapping[str, Any], secrets: Collection[str], secrets_of: SecretsOf) -> dict[str, Any]:
    kept = {}
    for key, value in options.items():
        if key in secrets and value not in (None, ""):
            if isinstance(value, str) and "://" in value:
                kept[key] = without_secrets(value)
        elif isinstance(value, Mapping):  # nested: its secret options are those of the outer part too
            kept[key] = public(_options(value, secrets, secrets_of), secrets_of)
        else:
            kept[key] = public(value, secrets_of)
    return kept
