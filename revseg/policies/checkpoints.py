"""Checkpoints with names: folders that come with a package, registered as kind `checkpoint`.

Registered is a function without arguments that gives the `Checkpoint`, with a docstring for `revseg list`. A policy
takes such a name where it takes a model's name on the hub or a folder. A checkpoint may know one kind of video only,
which is then said whenever it is asked about others.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from revseg.errors import FootageWarning
from revseg.policies.names import PAPER
from revseg.registry import options_of, read_spec, registry, spec_of
from revseg.video import Video

DEFAULT = "small_grpo"  # what `qwen` is without a model


@dataclass(frozen=True)
class Checkpoint:
    """A folder of weights that a package brings.

    `knows` says of a video whether the checkpoint can say anything about it; `world` says in words what it knows.
    """

    folder: Path
    knows: Callable[[Video], bool]
    world: str


def named(model: str | None) -> Checkpoint | None:
    """The checkpoint of that name (None: the default one); None for any other model.

    A folder of one's own with such a name is reached as `./NAME`.
    """
    known, name = registry("checkpoint"), DEFAULT if model is None else model
    return known.get(name)() if name in known.names() else None


def folder_of(model: str | None) -> str:
    """The folder of a checkpoint with a name; any other model as it is."""
    found = named(model)
    return str(model) if found is None else str(found.folder)


def weights_of(policy: Any) -> dict[str, Any] | None:
    """The options of a policy's spec that say where its weights are, at least the first one; None for any other policy.

    A registered policy declares them as `weights`, the names of options.
    """
    if not isinstance(policy, str | Mapping) or (isinstance(policy, Mapping) and "name" not in policy):
        return None
    name, options = read_spec("policy", policy)
    if ":" in name or name not in registry("policy").names():
        return None
    part = registry("policy").get(name)
    declared = getattr(part, "weights", ())
    if not declared or declared[0] not in options_of(part):
        return None
    return {declared[0]: None, **{option: options[option] for option in declared if option in options}}


def checkpoint_of(policy: Any) -> tuple[str, Checkpoint] | None:
    """Name and checkpoint that a policy's spec means; None where its weights, or some of them, are from elsewhere."""
    weights = weights_of(policy)
    if weights is None or any(list(weights.values())[1:]):
        return None
    model = next(iter(weights.values()))
    found = named(model) if model is None or isinstance(model, str) else None
    return None if found is None else (model or DEFAULT, found)


def warn_of_footage(policy: Any, videos: Iterable[Video]) -> None:
    """A FootageWarning when the spec `policy` means a checkpoint that does not know all of the videos."""
    found = checkpoint_of(policy)
    if found is not None and not all(found[1].knows(video) for video in videos):
        warnings.warn(
            f"the bundled policy {spec_of(policy)} knows only {found[1].world}: what it says of other videos means "
            f"nothing; for real footage take a policy such as {PAPER}",
            FootageWarning,
            stacklevel=4,
        )
