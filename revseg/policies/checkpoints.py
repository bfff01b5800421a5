"""Named checkpoints: folders of weights that come with a package, registered as kind `checkpoint`.

What is registered is a function without arguments that returns the `Checkpoint`, with a docstring for `revseg list`. A
policy takes such a name in place of a hub name or a folder. A checkpoint may be limited to one kind of video; asking it
about others raises a warning.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from revseg.errors import FootageWarning
from revseg.policies.names import PAPER
from revseg.registry import options_of, read_spec, registry, spec_of
from revseg.types import NamesWeights
from revseg.video import Video

DEFAULT = "small_grpo"  # what `qwen` loads if no model is named


@dataclass(frozen=True)
class Checkpoint:
    """A folder of weights that comes with a package."""

    folder: Path
    knows: Callable[[Video], bool]  # whether the checkpoint was trained for such videos
    world: str  # which videos those are, in words


def named(model: str | None) -> Checkpoint | None:
    """The checkpoint of that name; None for any other model. Without a name, the default one.

    The user's own folder with such a name is reached as `./NAME`. SpecError if the default one is not registered.
    """
    known = registry("checkpoint")
    if model is None:
        return known.get(DEFAULT)()
    return known.get(model)() if model in known else None


def folder_of(model: str | None) -> str:
    """The folder of a named checkpoint; any other model as it is."""
    found = named(model)
    return str(model) if found is None else str(found.folder)


def weights_of(policy: Any) -> dict[str, Any] | None:
    """The options in a policy's spec that name its weights, the first of them in any case.

    A registered policy declares the names of these options as `weights`. None for a policy that declares none, or that
    is not given as a spec of a registered policy.
    """
    if not isinstance(policy, str) and not (isinstance(policy, Mapping) and isinstance(policy.get("name"), str)):
        return None
    name, options = read_spec("policy", policy)
    if ":" in name or name not in registry("policy"):
        return None
    part = registry("policy").get(name)
    declared = part.weights if isinstance(part, NamesWeights) else ()
    if not declared or declared[0] not in options_of(part):
        return None
    return {declared[0]: None, **{option: options[option] for option in declared if option in options}}


def checkpoint_of(policy: Any) -> tuple[str, Checkpoint] | None:
    """Name and checkpoint that a policy's spec loads; None if some of its weights, such as an adapter, are from
    elsewhere."""
    weights = weights_of(policy)
    if weights is None or any(list(weights.values())[1:]):
        return None
    model = next(iter(weights.values()))
    found = named(model) if model is None or isinstance(model, str) else None
    return None if found is None else (model or DEFAULT, found)


def warn_of_footage(policy: Any, videos: Iterable[Video]) -> None:
    """A FootageWarning if the spec `policy` loads a checkpoint that was not trained for all of these videos."""
    found = checkpoint_of(policy)
    if found is not None and not all(found[1].knows(video) for video in videos):
        warnings.warn(
            f"the bundled policy {spec_of(policy)} knows only {found[1].world}: its answers about other videos are "
            f"meaningless; for real footage use a policy such as {PAPER}",
            FootageWarning,
            stacklevel=4,
        )
