"""Parts by name: eleven kinds, one registry each, and the spec text that names a part with its options.

A *spec* is one of

- `"name"` or `"name:option=1,other=x"`: a registered part with options (values are JSON, Python literals, or text);
- `"path/to/file.py:name"` or `"package.module:name"`, options after a second colon: anything importable;
- `{"name": ..., "option": 1}`: the same as a mapping;
- the part itself.

A class is constructed with the options; a function gets its keyword-only options bound.

Building a spec of the second form runs code, so that it has to be the user's own: what comes from a file that travels
with weights or results passes `revseg.untrusted.trust.check_foreign` first, which lets registered parts with
plain options through.
"""

import contextlib
import functools
import importlib
import importlib.metadata
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from revseg.errors import SpecError
from revseg.importing import load, module_name, origin, same_source
from revseg.options import check_options, construct, options_of
from revseg.redaction import public
from revseg.spec import read_spec
from revseg.suggest import is_address, suggestion, unknown

_CALLED = ("__call__",)
_METHODS = {  # what an object must have to be a part; of objectives training checks it
    "policy": ("reply",),
    "dataset": ("__len__", "__getitem__"),
    **dict.fromkeys(("plan", "checkpoint", "prompt", "parser", "reward", "tracker", "sampler"), _CALLED),
}

if TYPE_CHECKING:
    from revseg.types import Dataset, Objective, Parser, Plan, Policy, Prompt, Reward, Sampler, Tracker

T = TypeVar("T")
P = TypeVar("P")


class Registry(Generic[T]):
    """The parts of one kind: built-in ones from the sub-package `home`, others by entry point or `register`."""

    def __init__(self, kind: str, home: str) -> None:
        self.kind = kind
        self.home = home
        self._parts: dict[str, Any] = {}
        self._loaded: set[str] = set()  # names whose entry point was loaded

    def register(self, name: str) -> Callable[[P], P]:
        """A decorator that adds a part and returns it unchanged. A name that is taken by another part raises."""
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise SpecError(f"{self.kind} name {name!r}: expected lower-case letters, digits and underscores")

        def add(part: P) -> P:
            other = self._parts.get(name)
            if other is not None and other is not part and not same_source(other, part):
                raise SpecError(f"{self.kind} {name!r} is taken by {origin(other)}; choose another name")
            self._parts[name] = part
            return part

        return add

    def names(self) -> list[str]:
        """All names, sorted. Reads the plug-ins' metadata and imports none of them."""
        importlib.import_module(self.home)
        return sorted({*self._parts, *(entry.name for entry in self._entry_points())})

    def __contains__(self, name: object) -> bool:
        """Whether there is a part of this name; the plug-ins' metadata is read only if no part of it is registered."""
        importlib.import_module(self.home)
        return name in self._parts or any(entry.name == name for entry in self._entry_points())

    def get(self, name: str) -> Any:
        """The registered part, unbuilt. Imports only the one asked for. SpecError when two packages claim the name."""
        importlib.import_module(self.home)
        if name not in self._loaded:
            claims = {entry.value: entry for entry in self._entry_points() if entry.name == name}
            for entry in claims.values():
                self.register(name)(entry.load())
            self._loaded.add(name)
        if name not in self._parts:
            self._loaded.discard(name)
            raise SpecError(unknown(self.kind, name, self.names(), self._suggestion(name)))
        return self._parts[name]

    def registered(self, name: str) -> Any:
        """The part of this name if it is registered already, else None; plug-ins are not searched."""
        importlib.import_module(self.home)
        return self._parts.get(name)

    def build(self, spec: Any) -> T:
        """The part that a spec names, ready to use.

        Raises SpecError for an unknown name or option, and for what is no part of this kind.
        """
        if not isinstance(spec, (str, Mapping)):
            return _fitting(self.kind, spec, spec)
        part, options = self.checked(spec)
        return _fitting(self.kind, spec, construct(part, options))

    def checked(self, spec: str | Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The class or function that a spec names, unbuilt, and its options. SpecError as `build`."""
        part = self.part(spec)
        name, options = read_spec(self.kind, spec)
        check_options(self.kind, name, part, options)
        return part, options

    def part(self, spec: str | Mapping[str, Any]) -> Any:
        """The class or function that a spec names, unbuilt; its module is imported. SpecError as `build`."""
        if isinstance(spec, str) and is_address(spec):
            raise SpecError(unknown(self.kind, spec, self.names(), self._suggestion(spec)))
        name, _ = read_spec(self.kind, spec)
        source, colon, rest = name.partition(":")
        if colon and source in self:
            known = options_of(self.get(source))
            such = f", such as {source}:model={rest}" if "model" in known and rest and rest not in known else ""
            raise SpecError(
                f"cannot read the {self.kind} spec {name!r}: expected {source}:option=value{such}, got {rest!r}"
            )
        return load(name) if colon else self.get(name)

    def name_of(self, part: Any) -> str | None:
        """The name that a class or function is registered under so far, or None."""
        return next((name for name, known in self._parts.items() if known is part), None)

    def _suggestion(self, name: str) -> str:
        """A hint for a name that no part has: it may be a model for the first part that loads weights."""
        loads = ((n, part.weights[0]) for n, part in self._parts.items() if getattr(part, "weights", ()))
        checkpoints = REGISTRIES["checkpoint"].names() if self.kind == "policy" else []
        return suggestion(self.kind, name, next(loads, None), checkpoints)

    def _entry_points(self) -> importlib.metadata.EntryPoints:
        return importlib.metadata.entry_points(group=f"revseg.{self.kind}")


def spec_of(part: Any) -> Any:
    """What a record should hold for a part: its spec as given, or the import path of an object that was passed.

    Keys and passwords are left out: what the part declares in `secrets`, and logins in addresses (`redaction`). Raises
    nothing: an object without an import path is recorded as `{"object": repr}`, which `build` refuses.
    """
    return public(_spec_of(part), _secrets_of)


def _spec_of(part: Any) -> Any:
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping):
        return dict(part)
    if isinstance(part, functools.partial) and not part.args:
        return {"name": _spec_of(part.func), **part.keywords}
    path = origin(part)
    found = sys.modules.get(path.partition(":")[0])
    if getattr(found, path.partition(":")[2], None) is part:
        return path
    return {"object": repr(part)}


def _secrets_of(name: str) -> set[str]:
    """The options that parts of this name, of any kind, declare as secret; those of a module only once it is loaded."""
    source, _, attribute = name.partition(":")
    if attribute:
        module = sys.modules.get(module_name(source) if source.endswith(".py") else source)
        parts = [getattr(module, attribute, None)]
    else:
        parts = [part for r in REGISTRIES.values() if (part := r.registered(name)) is not None] or _plugins(name)
    return {option for part in parts for option in getattr(part, "secrets", ())}


def _plugins(name: str) -> list[Any]:
    """The parts that installed packages bring under a name; a broken package brings none, as `build` will say."""
    found = []
    for entry in importlib.metadata.entry_points(name=name):
        kind = entry.group.removeprefix("revseg.")
        with contextlib.suppress(Exception):
            found += [REGISTRIES[kind].get(name)] if kind in REGISTRIES and kind != entry.group else []
    return found


REGISTRIES: dict[str, Registry[Any]] = {
    kind: Registry(kind, home)
    for kind, home in {
        "policy": "revseg.policies",
        "checkpoint": "revseg.policies",
        "codec": "revseg.policies.hf.codecs",
        "plan": "revseg.rollout",
        "prompt": "revseg.rollout",
        "parser": "revseg.grounding",
        "reward": "revseg.rewards",
        "tracker": "revseg.trackers",
        "objective": "revseg.objectives",
        "sampler": "revseg.samplers",
        "dataset": "revseg.datasets",
    }.items()
}


def registry(kind: str) -> Registry[Any]:
    """The registry of a kind; raises SpecError naming the kinds there are."""
    if kind not in REGISTRIES:
        raise SpecError(unknown("kind", kind, list(REGISTRIES)))
    return REGISTRIES[kind]


def register(kind: str, name: str) -> Callable[[P], P]:
    """`@revseg.register("reward", "centre")` above a function or class makes it a part."""
    return registry(kind).register(name)


@overload
def build(kind: Literal["policy"], spec: Any) -> "Policy": ...
@overload
def build(kind: Literal["plan"], spec: Any) -> "Plan": ...
@overload
def build(kind: Literal["prompt"], spec: Any) -> "Prompt": ...
@overload
def build(kind: Literal["parser"], spec: Any) -> "Parser": ...
@overload
def build(kind: Literal["reward"], spec: Any) -> "Reward": ...
@overload
def build(kind: Literal["tracker"], spec: Any) -> "Tracker": ...
@overload
def build(kind: Literal["objective"], spec: Any) -> "Objective": ...
@overload
def build(kind: Literal["sampler"], spec: Any) -> "Sampler": ...
@overload
def build(kind: Literal["dataset"], spec: Any) -> "Dataset": ...
@overload
def build(kind: str, spec: Any) -> Any: ...
def build(kind: str, spec: Any) -> Any:
    """`revseg.build("tracker", "sam2:compile=True")`: the part, ready to use."""
    return registry(kind).build(spec)


def names(kind: str) -> list[str]:
    """The names of a kind, sorted; imports no plug-in."""
    return registry(kind).names()


def _fitting(kind: str, spec: Any, part: P) -> P:
    """The part, after a look at whether it can be used as one at all."""
    methods = _METHODS.get(kind, ())
    unbuilt = inspect.isclass(part) and methods and methods != _CALLED
    missing = [method for method in methods if unbuilt or not callable(getattr(part, method, None))]
    if missing:
        what = "a class, not an object of it" if unbuilt else f"{type(part).__name__} without {', '.join(missing)}"
        raise SpecError(
            f"expected a {kind}, as its spec or an object that has {', '.join(methods)}; got {what}: {spec!r:.200}"
        )
    return part
