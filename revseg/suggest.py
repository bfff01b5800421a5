"""Errors about names: the nearest known one, or the spec for what was given in place of a part's name."""

import difflib
from collections.abc import Sequence
from pathlib import Path

_WEIGHTS = (".pt", ".pth", ".safetensors")


def suggestion(kind: str, name: str, loader: tuple[str, str] | None, checkpoints: Sequence[str]) -> str:
    """ " Did you mean ...?" for a name that no part of the kind has but that can be read as a model; else "".

    `loader` is a part of the kind that loads weights, and its option for them; `checkpoints` are weights with names.
    """
    if is_address(name):
        return f" Did you mean openai:model=NAME,base_url={name}?" if kind == "policy" else ""
    if kind == "dataset" and _is_place(name):
        return f" Did you mean NAME:root={name}, with the name of a reader, such as folder or mevis?"
    if loader is None:
        return ""
    if name.endswith(".py"):
        return f" Did you mean {name}:NAME, with the name of what it holds?"
    if _is_place(name) or name.endswith(_WEIGHTS) or name in checkpoints:
        return f" Did you mean {loader[0]}:{loader[1]}={name}?"
    return ""


def is_address(name: str) -> bool:
    """True for the address of a server."""
    return name.startswith(("http://", "https://"))


def _is_place(name: str) -> bool:
    """A name on the hub (owner/name), or a folder or file of one's own."""
    return "/" in name or name in (".", "..") or Path(name).is_dir()


def unknown(what: str, name: str, known: Sequence[str], hint: str = "") -> str:
    """What an error says of a name that is none of those known; `hint` in place of the nearest of them."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = hint or (f" Did you mean {near[0]!r}?" if near else "")
    return f"unknown {what}: {name!r}.{hint} Known: {', '.join(known) or 'none'}"
