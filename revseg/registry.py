"""Parts by name: ten kinds, one registry each, and the spec text that names a part with its options.

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
import difflib
import functools
import importlib
import importlib.metadata
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Generic, TypeVar, Union, get_args, get_origin

from revseg.errors import SpecError
from revseg.redaction import public
from revseg.spec import is_import_path, parse_spec
from revseg.suggest import is_address, suggestion

_PLAIN = (str, int, float, bool, type(None))
_CALLED = ("__call__",)
_METHODS = {  # what a part has to have; of objectives training says it, which needs more of them
    "policy": ("reply",),
    "dataset": ("__len__", "__getitem__"),
    **dict.fromkeys(("plan", "checkpoint", "prompt", "parser", "reward", "tracker", "sampler"), _CALLED),
}

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
            held = self._parts.get(name)
            if held is not None and held is not part and not _same_source(held, part):
                raise SpecError(f"{self.kind} {name!r} is taken by {origin(held)}; choose another name")
            self._parts[name] = part
            return part

        return add

    def names(self) -> list[str]:
        """All names, sorted. Reads the plug-ins' metadata and imports none of them."""
        importlib.import_module(self.home)
        return sorted({*self._parts, *(entry.name for entry in self._entry_points())})

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
            raise SpecError(_unknown(self.kind, name, self.names(), self._suggestion(name)))
        return self._parts[name]

    def held(self, name: str) -> Any:
        """The part of this name that is registered so far, or None; looks into no plug-in."""
        importlib.import_module(self.home)
        return self._parts.get(name)

    def build(self, spec: Any) -> T:
        """The part that a spec names, ready to use.

        Raises SpecError for an unknown name or option, and for what is no part of this kind.
        """
        if not isinstance(spec, (str, Mapping)):
            return _fitting(self.kind, spec, spec)
        part = self.part(spec)
        name, options = read_spec(self.kind, spec)
        return _fitting(self.kind, spec, _construct(self.kind, name, part, options))

    def part(self, spec: str | Mapping[str, Any]) -> Any:
        """The class or function that a spec names, unbuilt; its module is imported. SpecError as `build`."""
        if isinstance(spec, str) and is_address(spec):
            raise SpecError(_unknown(self.kind, spec, self.names(), self._suggestion(spec)))
        name, _ = read_spec(self.kind, spec)
        source, colon, rest = name.partition(":")
        if colon and source in self.names():
            known = options_of(self.get(source))
            such = f", such as {source}:model={rest}" if "model" in known and rest and rest not in known else ""
            raise SpecError(
                f"cannot read the {self.kind} spec {name!r}: expected {source}:option=value{such}, got {rest!r}"
            )
        return _load(name) if colon else self.get(name)

    def name_of(self, part: Any) -> str | None:
        """The name that a class or function is registered under so far, or None."""
        return next((name for name, known in self._parts.items() if known is part), None)

    def _suggestion(self, name: str) -> str:
        """What was meant by a name that no part has: perhaps the model of the first part that loads one."""
        loads = ((n, part.weights[0]) for n, part in self._parts.items() if getattr(part, "weights", ()))
        checkpoints = REGISTRIES["checkpoint"].names() if self.kind == "policy" else []
        return suggestion(self.kind, name, next(loads, None), checkpoints)

    def _entry_points(self) -> importlib.metadata.EntryPoints:
        return importlib.metadata.entry_points(group=f"revseg.{self.kind}")


def options_of(part: Any) -> dict[str, inspect.Parameter]:
    """The options of an unbuilt part: a class's constructor arguments, a function's keyword-only arguments."""
    try:
        parameters = inspect.signature(part).parameters
    except (TypeError, ValueError):
        return {}
    keyword_only = not inspect.isclass(part)
    kinds = (
        (inspect.Parameter.KEYWORD_ONLY,)
        if keyword_only
        else (
            inspect.Parameter.KEYWORD_ONLY,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
        )
    )
    return {name: p for name, p in parameters.items() if p.kind in kinds}


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
        module = sys.modules.get(_module_name(source) if source.endswith(".py") else source)
        parts = [getattr(module, attribute, None)]
    else:
        parts = [part for r in REGISTRIES.values() if (part := r.held(name)) is not None] or _plugins(name)
    return {option for part in parts for option in getattr(part, "secrets", ())}


def _plugins(name: str) -> list[Any]:
    """The parts that installed packages bring under a name; a broken package brings none, as `build` will say."""
    found = []
    for entry in importlib.metadata.entry_points(name=name):
        kind = entry.group.removeprefix("revseg.")
        with contextlib.suppress(Exception):
            found += [REGISTRIES[kind].get(name)] if kind in REGISTRIES and kind != entry.group else []
    return found


def read_spec(kind: str, spec: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name and options of a spec, as text or mapping. SpecError when it is not of that form."""
    if isinstance(spec, str):
        return parse_spec(spec)
    options = dict(spec)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise SpecError(f'{kind} spec with {list(spec)}: expected a "name"')
    return name, options


REGISTRIES: dict[str, Registry[Any]] = {
    kind: Registry(kind, home)
    for kind, home in {
        "policy": "revseg.policies",
        "checkpoint": "revseg.policies",
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
        raise SpecError(_unknown("kind", kind, list(REGISTRIES)))
    return REGISTRIES[kind]


def register(kind: str, name: str) -> Callable[[P], P]:
    """`@revseg.register("reward", "centre")` above a function or class makes it a part."""
    return registry(kind).register(name)


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


def _construct(kind: str, name: str, part: Any, options: Mapping[str, Any]) -> Any:
    known = options_of(part)
    for option in options:
        if option not in known:
            raise SpecError(_unknown(f"option of {kind} {name!r}", option, list(known)))
    missing = [o for o, p in known.items() if p.default is inspect.Parameter.empty and o not in options]
    if missing:
        raise SpecError(f"{kind} {name!r} needs {', '.join(missing)}: write {name}:{missing[0]}=...")
    for option, value in options.items():
        if not _of_kind(value, known[option].annotation):
            wanted = getattr(known[option].annotation, "__name__", None) or str(known[option].annotation)
            raise SpecError(f"{kind} {name!r}: expected {option} of type {wanted}, got {value!r:.80}")
    if inspect.isclass(part):
        return part(**options)
    return functools.partial(part, **options) if options else part


def _of_kind(value: Any, annotation: Any) -> bool:
    """False for a value, as a spec's text holds it, of another type than the option says; True where unsure."""
    if type(value) not in (*_PLAIN, list, tuple, dict):
        return True
    if isinstance(annotation, UnionType) or get_origin(annotation) is Union:
        return any(_of_kind(value, kind) for kind in get_args(annotation))
    if annotation in _PLAIN:
        number = type(value) is int and (annotation is float or (annotation is bool and value in (0, 1)))
        return number or type(value) is annotation
    holder, items = get_origin(annotation) or annotation, get_args(annotation)
    if holder in (Sequence, list):
        return isinstance(value, list | tuple) and (not items or all(_of_kind(item, items[0]) for item in value))
    return isinstance(value, dict) if holder in (Mapping, dict) else True


def _load(path: str) -> Any:
    source, _, attribute = path.partition(":")
    if not is_import_path(path):  # before anything is run
        raise SpecError(f"cannot load {path!r}: expected file.py:name or package.module:name")
    if source.endswith(".py"):
        module_name = _module_name(source)
        changed = os.stat(source).st_mtime_ns if Path(source).is_file() else None
        module = sys.modules.get(module_name)
        if changed is not None and getattr(module, "__changed__", None) == changed:
            return _attribute(module, source, attribute)  # a file is run once, and again when it was edited
        spec = importlib.util.spec_from_file_location(module_name, source)
        if spec is None or spec.loader is None or not Path(source).is_file():
            raise SpecError(f"cannot load {path!r}: no file {source!r}")
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        spec.loader.exec_module(module)
        module.__dict__["__changed__"] = changed
    else:
        if not all(part.isidentifier() for part in source.split(".")):
            raise SpecError(f"cannot load {path!r}: expected package.module:name or path/to/file.py:name")
        try:
            module = importlib.import_module(source)
        except ModuleNotFoundError as error:
            raise SpecError(f"cannot load {path!r}: {error}") from error
    return _attribute(module, source, attribute)


def _attribute(module: Any, source: str, name: str) -> Any:
    if not hasattr(module, name):
        raise SpecError(_unknown(f"name in {source}", name, [n for n in vars(module) if not n.startswith("_")]))
    return getattr(module, name)


def _module_name(source: str) -> str:
    """What a part's file is called as a module."""
    return "revseg_user_" + re.sub(r"\W", "_", str(Path(source).resolve()))


def origin(part: Any) -> str:
    """Where a built part, or what a spec names, is defined: "module:name", of an object that of its class."""
    part = part.func if isinstance(part, functools.partial) else part
    named = part if hasattr(part, "__qualname__") else type(part)
    return f"{named.__module__}:{named.__qualname__}"


def _same_source(one: Any, other: Any) -> bool:
    """True for one definition run twice, as in a notebook; two lambdas or two objects of a class are never the same."""
    named = all(hasattr(part, "__qualname__") and "<lambda>" not in part.__qualname__ for part in (one, other))
    return named and origin(one) == origin(other)


def _unknown(what: str, name: str, known: list[str], hint: str = "") -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = hint or (f" Did you mean {near[0]!r}?" if near else "")
    return f"unknown {what}: {name!r}.{hint} Known: {', '.join(known) or 'none'}"
