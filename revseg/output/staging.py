"""Hidden names beside a result, under which it is made, and their locks.

A process that is killed leaves at most such a `.part`; the next one that writes the same result removes it.
"""

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from revseg.errors import OutputError
from revseg.locks import give_back, take

_PART = re.compile(r"\..*\.revseg-\d+\.part(\..*)?", re.DOTALL)


@contextlib.contextmanager
def staged(path: Path) -> Iterator[Path]:
    """A name beside `path` that nobody else uses; what killed processes left for `path` is removed.

    Names are numbered, and each name in use has a lock. Inside another `.part`, whose lock suffices, there is none.
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
    """Remove what a killed process left under this name; an old result that it had set aside goes back."""
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


def move_folder(part: Path, path: Path) -> None:
    """Rename `part` to `path`. An existing folder is set aside first, and put back if the renaming fails."""
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
