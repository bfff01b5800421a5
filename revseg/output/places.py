"""Where results may be written, checked before long work."""

import json
import os
import tempfile
from pathlib import Path

from revseg.errors import OutputError
from revseg.masks.rle import brief

MARK = ".revseg"  # a file in each result folder: the names that revseg wrote there, as a JSON list


def check_folder(path: str | Path, *, overwrite: bool = False) -> None:
    """OutputError when `fresh_folder` would refuse this place; to be called before long work.

    A place is free when it does not exist or is an empty folder, and with `overwrite` when everything in the folder
    was written by revseg.
    """
    path = absolute(path)
    if path == Path.cwd():
        raise OutputError(f"{path} is the current folder: name a new one inside it")
    _check_parent(path)
    if not path.is_dir():
        if path.exists():
            raise OutputError(f"{path} exists and is not a folder: choose another place")
        _probe(path)
        return
    _probe(path)
    held = {item.name for item in path.iterdir()}
    if not held:
        return
    if not overwrite:
        raise OutputError(f"{path} exists: choose another folder, or ask to overwrite it (--overwrite, overwrite=True)")
    others = sorted(held - _ours(path))
    if others:
        raise OutputError(f"{path} holds what revseg did not write, such as {others[0]}: choose another folder")


def check_file(path: str | Path, *, overwrite: bool = False) -> Path:
    """The absolute path; OutputError when `fresh_file` would refuse it. To be called before long work."""
    path = absolute(path)
    check_free(path, overwrite)
    _probe(path)
    return path


def check_writable(folder: Path) -> None:
    """Make the folder; OutputError when nothing can be written into it. To be called before long work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"1")
    except (OSError, ValueError) as error:  # ValueError: a name with a zero in it
        raise OutputError(f"cannot write into {folder}: {error}; choose a folder that can be written") from error


def absolute(path: str | Path) -> Path:
    """The absolute path; OutputError for an impossible name."""
    try:
        found = Path(path).resolve()
        found.exists()
        if "\0" in str(path):
            raise ValueError("a name cannot hold a zero character")
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a loop of links
        raise OutputError(f"cannot write {brief(str(path), 300)}: {error}"[:500]) from error
    return found


def check_free(path: Path, overwrite: bool) -> None:
    """OutputError when `path` is a folder, a file that is not to be overwritten, or in no folder."""
    _check_parent(path)
    if path.is_dir():
        raise OutputError(f"{path} is a folder; expected the name of a file")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists: choose another name, or ask to overwrite it (--overwrite, overwrite=True)")


def _check_parent(path: Path) -> None:
    """OutputError unless the nearest existing folder above `path` can be written."""
    parent = _nearest(path)
    if not parent.is_dir():
        raise OutputError(f"cannot write {path}: {parent} is not a folder")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write {path}: no permission to write in {parent}")


def _probe(path: Path) -> None:
    """Write a byte beside `path`, or where its folder will be: permissions do not tell whether the disk takes it."""
    parent = _nearest(path)
    try:
        with tempfile.TemporaryFile(dir=parent) as file:
            file.write(b"1")
    except OSError as error:
        raise OutputError(f"cannot write {path}: nothing can be written in {parent}: {error.strerror}") from error


def _nearest(path: Path) -> Path:
    """The nearest existing path above `path`."""
    parent = path.parent
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    return parent


def _ours(folder: Path) -> set[str]:
    """The names in `folder` that revseg wrote."""
    try:
        return set(json.loads((folder / MARK).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return set()  # no list, or none that we wrote: everything in the folder is somebody else's
