"""What somebody probably meant who gave a model's name, a folder or an address where the name of a part is expected."""

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
