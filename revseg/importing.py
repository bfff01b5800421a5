"""Code by its address, "file.py:name" or "package.module:name", and the address of code."""

import functools
import importlib
import importlib.util
import os
import re
import sys
from pathlib import Path
from typing import Any

from revseg.errors import SpecError
from revseg.spec import is_import_path
from revseg.suggest import unknown


def load(path: str) -> Any:
    """The object at an address. A file is run once, and again after it was edited. SpecError where there is none."""
    source, _, attribute = path.partition(":")
    if not is_import_path(path):  # before anything is run
        raise SpecError(f"cannot load {path!r}: expected file.py:name or package.module:name")
    if source.endswith(".py"):
        name = module_name(source)
        changed = os.stat(source).st_mtime_ns if Path(source).is_file() else None
        module = sys.modules.get(name)
        if changed is not None and getattr(module, "__changed__", None) == changed:
            return _attribute(module, source, attribute)  # a file is run once, and again when it was edited
        spec = importlib.util.spec_from_file_location(name, source)
        if spec is None or spec.loader is None or not Path(source).is_file():
            raise SpecError(f"cannot load {path!r}: no file {source!r}")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
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
        raise SpecError(unknown(f"name in {source}", name, [n for n in vars(module) if not n.startswith("_")]))
    return getattr(module, name)


def module_name(source: str) -> str:
    """The name under which a file of parts is imported."""
    return "revseg_user_" + re.sub(r"\W", "_", str(Path(source).resolve()))


def origin(part: Any) -> str:
    """Where a built part, or what a spec names, is defined: "module:name", of an object that of its class."""
    part = part.func if isinstance(part, functools.partial) else part
    named = part if hasattr(part, "__qualname__") else type(part)
    return f"{named.__module__}:{named.__qualname__}"


def same_source(one: Any, other: Any) -> bool:
    """True for one definition run twice, as in a notebook; two lambdas or two objects of a class are never the same."""
    named = all(hasattr(part, "__qualname__") and "<lambda>" not in part.__qualname__ for part in (one, other))
    return named and origin(one) == origin(other)
