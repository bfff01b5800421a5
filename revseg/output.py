"""Output that appears whole or not at all, and replaces nothing unasked.

A result is made beside its place, under a hidden name that ends in `.part`, and renamed when it is complete. A process
that is killed leaves at most such a `.part`, never half a result.
"""

import contextlib
import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from revseg.errors import OutputError

MARK = ".revseg"  # in each folder made here: the names that revseg put into it, as a JSON list
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}  # the disk's fault, not the caller's


def check_folder(path: str | Path, *, overwrite: bool = False) -> None:
    """Raises OutputError when `fresh_folder` would refuse this place: call it before long work.

    Free are: what does not exist, an empty folder, and with `overwrite` a folder that holds nothing but what revseg
    put there.
    """
    path = Path(path).resolve()
    if path == Path.cwd():
        raise OutputError(f"{path} is the current folder: name a new one inside it")
    if not path.is_dir():
        _check_parent(path)
        if path.exists():
            raise OutputError(f"{path} exists and is not a folder: choose another place")
        return
    _check_parent(path)
    held = {item.name for item in path.iterdir()}
    if not held:
        return
    if not overwrite:
        raise OutputError(f"{path} exists: choose another folder, or ask to overwrite it")
    others = sorted(held - _ours(path))
    if others:
        raise OutputError(f"{path} holds what revseg did not write, such as {others[0]}: choose another folder")


@contextlib.contextmanager
def fresh_folder(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A folder to fill, moved to `path` when the block ends; when it raises, everything is removed.

    An existing result is replaced, with `overwrite`, only once the new one is complete. Missing parents are made.
    Raises OutputError on entry as `check_folder` does and when the place cannot be written, inside when the disk is
    full.
    """
    path = Path(path).resolve()
    check_folder(path, overwrite=overwrite)
    part = _beside(path)
    with _disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part.mkdir()
    try:
        with _disk(path):
            yield part
            names = sorted({item.name for item in part.iterdir()} | {MARK})
            (part / MARK).write_text(json.dumps(names) + "\n", "utf-8")
            check_folder(path, overwrite=overwrite)  # again: others may have written meanwhile
            _move_folder(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)  # gone already when all went well


@contextlib.contextmanager
def fresh_file(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A file name to write to, moved to `path` when the block ends; when it raises, nothing is left.

    Keeps the suffix of `path`, by which writers choose their format. Raises OutputError when `path` exists (unless
    `overwrite`), is a folder, or cannot be written.
    """
    path = Path(path).resolve()
    _check_file(path, overwrite)
    part = _beside(path)
    try:
        with _disk(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield part
            _check_file(path, overwrite)
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: str | Path, text: str, *, overwrite: bool = False) -> None:
    """A UTF-8 text file, complete on the disk before it appears. OutputError as for `fresh_file`."""
    with fresh_file(path, overwrite=overwrite) as part, part.open("x", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _check_parent(path: Path) -> None:
    """The nearest folder that exists above `path` has to be one that can be written."""
    parent = path.parent
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if not parent.is_dir():
        raise OutputError(f"cannot write {path}: {parent} is not a folder")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write {path}: no permission to write in {parent}")


def _check_file(path: Path, overwrite: bool) -> None:
    _check_parent(path)
    if path.is_dir():
        raise OutputError(f"{path} is a folder; expected the name of a file")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists: choose another name, or ask to overwrite it")


def _ours(folder: Path) -> set[str]:
    try:
        return set(json.loads((folder / MARK).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return set()  # no list, or not one of ours: everything in it is somebody else's


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.stem[:100]}.{secrets.token_hex(4)}.part{path.suffix}")


def _move_folder(part: Path, path: Path) -> None:
    """Renames `part` to `path`; what is there is set aside first, and put back if the renaming fails."""
    if not path.exists():
        part.rename(path)
        return
    aside = _beside(path)
    path.rename(aside)
    try:
        part.rename(path)
    except OSError:
        aside.rename(path)
        raise
    shutil.rmtree(aside)


@contextlib.contextmanager
def _disk(path: Path) -> Iterator[None]:
    """What the disk refuses becomes an OutputError that names the output; other errors pass."""
    try:
        yield
    except OSError as error:
        refused = error.errno in _FULL or (
            error.filename is not None and Path(str(error.filename)).parent == path.parent
        )
        if isinstance(error, OutputError) or not refused:
            raise
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
