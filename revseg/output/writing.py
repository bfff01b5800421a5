"""Files and folders that get their name when they are complete."""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from revseg.errors import OutputError
from revseg.output.places import MARK, absolute, check_folder, check_free
from revseg.output.staging import move_folder, staged
from revseg.untrusted.reading import well_formed

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}  # the disk's fault, not the caller's


@contextlib.contextmanager
def fresh_folder(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A folder to fill, renamed to `path` when the block ends; when the block raises, everything is removed.

    With `overwrite`, an existing result is replaced, but only when the new one is complete. Missing parents are made.
    OutputError on entry as for `check_folder` and when the place cannot be written, later when the disk is full.
    """
    path = absolute(path)
    check_folder(path, overwrite=overwrite)
    with staged(path) as part:
        try:
            with _disk(path, part):
                check_folder(path, overwrite=overwrite)  # again: what a killed process set aside is back
                part.mkdir()
                yield part
                names = sorted({item.name for item in part.iterdir()} | {MARK})
                (part / MARK).write_text(json.dumps(names) + "\n", "utf-8")
                check_folder(path, overwrite=overwrite)  # again: others may have written meanwhile
                move_folder(part, path)
        finally:
            shutil.rmtree(part, ignore_errors=True)  # gone already when all went well


@contextlib.contextmanager
def fresh_file(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A file name to write to, renamed to `path` when the block ends; when the block raises, nothing is left.

    The content is on the disk before the file gets its name. The suffix is that of `path`, because writers choose their
    format by it. OutputError when `path` exists (unless `overwrite`), is a folder, or cannot be written.
    """
    path = absolute(path)
    check_free(path, overwrite)
    with staged(path) as part:
        try:
            with _disk(path, part):
                yield part
                _to_disk(part)
                check_free(path, overwrite)
                os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)


def write_text(path: str | Path, text: str, *, overwrite: bool = False) -> None:
    """A UTF-8 text file, by `fresh_file`; what is not Unicode is replaced as `well_formed` does."""
    with fresh_file(path, overwrite=overwrite) as part:
        part.write_bytes(well_formed(text).encode("utf-8"))


def _to_disk(part: Path) -> None:
    """Wait until the file is on the disk: a crash of the machine could leave an empty file under its final name."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def _disk(path: Path, part: Path) -> Iterator[None]:
    """An OutputError that names the output for whatever the disk refuses; other errors pass."""
    try:
        yield
    except OutputError as error:  # of something inside
        raise OutputError(str(error).replace(str(part), str(path))) from error
    except OSError as error:
        refused = is_full(error) or (error.filename is not None and Path(str(error.filename)).parent == path.parent)
        if not refused:
            raise
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def is_full(error: OSError) -> bool:
    """True when the disk is to blame: no room, a quota, a limit on a file's size, read-only, a fault."""
    return error.errno in _FULL
