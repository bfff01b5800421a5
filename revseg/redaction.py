"""What a record leaves out: keys and passwords among the options of a spec.

A part says which of its options are secret: `secrets = ("api_key", "base_url")` on its class or function. Of a secret
address the scheme, host and path stay; any other secret option is left out as if it had not been given, so that a
part built from the record looks for it where it always does, such as in an environment variable.
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

    `secrets_of` gives the secret options of the part of a name. Logins leave the addresses in every option.
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
    """An address without what stands before "@" and after "?" or "#"."""
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
        elif isinstance(value, Mapping):  # what is secret is so within its options too
            kept[key] = public(_options(value, secrets, secrets_of), secrets_of)
        else:
            kept[key] = public(value, secrets_of)
    return kept
