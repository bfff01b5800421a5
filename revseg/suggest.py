"""What somebody probably meant who gave a model's name, a folder or an address where the name of a part is expected."""

from pathlib import Path

REAL_POLICY = "qwen:model=Qwen/Qwen2.5-VL-7B-Instruct"  # one for real footage
LOADERS = {"policy": "qwen", "tracker": "sam2"}  # what takes a model's name or folder as `model`
_WEIGHTS = (".pt", ".pth", ".safetensors")


def suggestion(kind: str, name: str) -> str:
    """ " Did you mean ...?" for a name that no part of the kind has but that can be read as a model; else ""."""
    if is_address(name):
        return f" Did you mean openai:model=NAME,base_url={name}?" if kind == "policy" else ""
    if kind == "dataset" and _is_place(name):
        return f" Did you mean NAME:root={name}, with the name of a reader, such as folder or mevis?"
    if kind not in LOADERS:
        return ""
    if name.endswith(".py"):
        return f" Did you mean {name}:NAME, with the name of what it holds?"
    if _is_place(name) or name.endswith(_WEIGHTS) or (kind == "policy" and _is_bundled(name)):
        return f" Did you mean {LOADERS[kind]}:model={name}?"
    return ""


def is_address(name: str) -> bool:
    """True for the address of a server."""
    return name.startswith(("http://", "https://"))


def _is_place(name: str) -> bool:
    """A name on the hub (owner/name), or a folder or file of one's own."""
    return "/" in name or name in (".", "..") or Path(name).is_dir()


def _is_bundled(name: str) -> bool:
    from revseg.rollout.bundled import bundled

    return bundled(name) is not None
