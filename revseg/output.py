"""Output that appears whole or not at all, and replaces nothing unasked.

A result is made beside its place, under a hidden name with `.part` in it, and renamed when it is complete. A process
that is killed leaves at most such a `.part`, never half a result; the next one that writes the same result removes it.
A lock beside it says that it is in use.
"""

import contextlib
import errno
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from revseg.errors import OutputError
from revseg.locks import give_back, take
from revseg.masks.rle import brief
from revseg.untrusted.reading import well_formed

MARK = ".revseg"  # in each folder made here: the names that revseg put into it, as a JSON list
_PART = re.compile(r"\..*\.revseg-\d+\.part(\..*)?", re.DOTALL)
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}  # the disk's fault, not the caller's


def check_folder(path: str | Path, *, overwrite: bool = False) -> None:
    """Raises OutputError when `fresh_folder` would refuse this place: call it before long work.

    Free are: what does not exist, an empty folder, and with `overwrite` a folder that holds nothing but what revseg
    put there.
    """
    path = _place(path)
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


@contextlib.contextmanager
def fresh_folder(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A folder to fill, moved to `path` when the block ends; when it raises, everything is removed.

    An existing result is replaced, with `overwrite`, only once the new one is complete. Missing parents are made.
    Raises OutputError on entry as `check_folder` does and when the place cannot be written, inside when the disk is
    full.
    """
    path = _place(path)
    check_folder(path, overwrite=overwrite)
    with _staged(path) as part:
        try:
            with _disk(path, part):
                check_folder(path, overwrite=overwrite)  # again: what a killed process set aside is back
                part.mkdir()
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
    path = _place(path)
    _check_file(path, overwrite)
    with _staged(path) as part:
        try:
            with _disk(path, part):
                yield part
                _check_file(path, overwrite)
                os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)


def check_file(path: str | Path, *, overwrite: bool = False) -> Path:
    """The absolute path; OutputError when `fresh_file` would refuse it: call it before long work."""
    path = _place(path)
    _check_file(path, overwrite)
    _probe(path)
    return path


def write_text(path: str | Path, text: str, *, overwrite: bool = False) -> None:
    """A UTF-8 text file, complete on the disk before it appears; what is no text is replaced, as `well_formed` does.

    OutputError as for `fresh_file`.
    """
    with fresh_file(path, overwrite=overwrite) as part, part.open("xb") as file:
        file.write(well_formed(text).encode("utf-8"))
        file.flush()
        os.fsync(file.fileno())


def check_writable(folder: Path) -> None:
    """Make the folder; OutputError when nothing can be written into it: call it before long work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"1")
    except (OSError, ValueError) as error:  # ValueError: a name with a zero in it
        raise OutputError(f"cannot write into {folder}: {error}; choose a folder that can be written") from error


def _probe(path: Path) -> None:
    """Write a byte where `path` is to be, or its folder: what a disk allows is known only once it was asked."""
    parent = _standing(path)
    try:
        with tempfile.TemporaryFile(dir=parent) as file:
            file.write(b"1")
    except OSError as error:
        raise OutputError(f"cannot write {path}: nothing can be written in {parent}: {error.strerror}") from error


def _place(path: str | Path) -> Path:
    """The absolute path; OutputError for a name that no disk takes."""
    try:
        found = Path(path).resolve()
        found.exists()
        if "\0" in str(path):
            raise ValueError("a name cannot hold a zero character")
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a loop of links
        raise OutputError(f"cannot write {brief(str(path), 300)}: {error}"[:500]) from error
    return found


def _check_parent(path: Path) -> None:
    """The nearest folder that exists above `path` has to be one that can be written."""
    parent = _standing(path)
    if not parent.is_dir():
        raise OutputError(f"cannot write {path}: {parent} is not a folder")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write {path}: no permission to write in {parent}")


def _standing(path: Path) -> Path:
    """The nearest thing that exists above `path`."""
    parent = path.parent
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    return parent


def _check_file(path: Path, overwrite: bool) -> None:
    _check_parent(path)
    if path.is_dir():
        raise OutputError(f"{path} is a folder; expected the name of a file")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists: choose another name, or ask to overwrite it (--overwrite, overwrite=True)")


def _ours(folder: Path) -> set[str]:
    try:
        return set(json.loads((folder / MARK).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return set()  # no list, or not one of ours: everything in it is somebody else's


@contextlib.contextmanager
def _staged(path: Path) -> Iterator[Path]:
    """A name beside `path` that nobody else uses; what killed processes left for `path` is removed.

    Names have numbers, and each in use has its lock. Inside another `.part` no lock is needed: that one's holds.
    """
    if any(_PART.fullmatch(parent.name) for parent in path.parents):
        yield path.with_name(f".{secrets.token_hex(8)}.part{_suffix(path)}")
        return
    mine, held = None, None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for number in range(1000):
            part = _part(path, number)
            there = part.exists() or _lock_of(part).exists()
            if mine is not None and not there:
                break
            lock = take(_lock_of(part))
            if lock is None:
                continue
            _clean(part, path)
            if mine is None:
                mine, held = part, lock
            else:
                give_back(lock)
    except NotImplementedError:  # a disk without locks
        mine = path.with_name(f".{secrets.token_hex(8)}.part{_suffix(path)}")
    except OSError as error:
        give_back(held)
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    if mine is None:
        raise OutputError(f"cannot write {path}: too many processes are writing it")
    try:
        yield mine
    finally:
        give_back(held)


def _part(path: Path, number: int) -> Path:
    stem = os.fsencode(path.stem)[:100].decode("utf-8", "ignore")
    return path.with_name(f".{stem}.revseg-{number}.part{_suffix(path)}")


def _suffix(path: Path) -> str:
    return path.suffix if len(path.suffix) < 32 else ""


def _lock_of(part: Path) -> Path:
    return part.with_name(part.name + ".lock")


def _clean(part: Path, path: Path) -> None:
    """Remove what was left under this name by a process that is no more; an old result that it set aside goes back."""
    aside = _aside(part)
    if aside.exists() and not path.exists() and len(os.fsencode(path.stem)) <= 100:
        aside.rename(path)
    for left in (part, aside):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink(missing_ok=True)


def _aside(part: Path) -> Path:
    return part.with_name(part.name + ".old")


def _move_folder(part: Path, path: Path) -> None:
    """Renames `part` to `path`; what is there is set aside first, and put back if the renaming fails."""
    if not path.exists():
        part.rename(path)
        return
    aside = _aside(part)
    path.rename(aside)
    try:
        part.rename(path)
    except OSError:
        aside.rename(path)
        raise
    shutil.rmtree(aside)


def is_full(error: OSError) -> bool:
    """True for what the disk is to blame for: no room, a quota, a limit on a file's size, a fault."""
    return error.errno in _FULL


@contextlib.contextmanager
def _disk(path: Path, part: Path) -> Iterator[None]:
    """What the disk refuses becomes an OutputError that names the output; other errors pass."""
    try:
        yield
    except OutputError as error:  # of something inside
        raise OutputError(str(error).replace(str(part), str(path))) from error
    except OSError as error:
        refused = is_full(error) or (error.filename is not None and Path(str(error.filename)).parent == path.parent)
        if not refused:
            raise
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
