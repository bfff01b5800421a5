"""Errors about names: the nearest known one, a model's spec for a model's name, or what to install."""

import difflib
import importlib.metadata
from collections.abc import Sequence
from pathlib import Path

_WEIGHTS = (".pt", ".pth", ".safetensors")
_OWN_PLUGINS = ("dataset", "checkpoint")  # kinds whose parts in `revseg/shapes` are registered by entry points


def suggestion(kind: str, name: str, loader: tuple[str, str] | None, checkpoints: Sequence[str]) -> str:
    """A sentence, after a space, about a name that no part of the kind has; "" if there is nothing to suggest.

    `loader` is a part of the kind that loads weights, and its option for them; `checkpoints` are names of weights.
    """
    if kind in _OWN_PLUGINS and not is_installed():
        return (
            " revseg is not installed, so the parts that it registers on installation are missing: run "
            "`pip install -e .` in the folder with its pyproject.toml."
        )
    if is_address(name):
        return f" Did you mean openai:model=NAME,base_url={name}?" if kind == "policy" else ""
    if kind == "dataset" and _is_place(name):
        return f" Did you mean NAME:root={name}, with the name of a reader, such as folder or mevis?"
    if loader is None:
        return ""
    if name.endswith(".py"):
        return f" Did you mean {name}:NAME, with the name of a part in that file?"
    if _is_place(name) or name.endswith(_WEIGHTS) or name in checkpoints:
        return f" Did you mean {loader[0]}:{loader[1]}={name}?"
    return ""


def is_installed() -> bool:
    """Whether revseg has the metadata of an installed package; a checkout on `PYTHONPATH` has none."""
    try:
        importlib.metadata.distribution("revseg")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def is_address(name: str) -> bool:
    """Whether a name is the address of a server."""
    return name.startswith(("http://", "https://"))


def _is_place(name: str) -> bool:
    """Whether a name is a hub name (OWNER/NAME), or a folder or file of the user's."""
    return "/" in name or name in (".", "..") or Path(name).is_dir()


def unknown(what: str, name: str, known: Sequence[str], hint: str = "") -> str:
    """What an error says of a name that is none of those known; `hint` in place of the nearest of them."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = hint or (f" Did you mean {near[0]!r}?" if near else "")
    return f"unknown {what}: {name!r}.{hint} Known: {', '.join(known) or 'none'}"
