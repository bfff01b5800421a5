"""Processes beside each other: one at a time by a lock on a file, and no worker without the process it works for."""

import contextlib
from pathlib import Path
from typing import Any

from revseg.errors import OutputError


def end_with_parent() -> None:
    """Let this process, a worker of `multiprocessing`, end at once when the one that started it does, even if killed.

    A worker that goes on holds its GPU, its locks and its files, and nobody is left to ask for what it makes. What
    the operating system closes for a process that dies is watched, so this works wherever `multiprocessing` does.
    """
    import multiprocessing
    import multiprocessing.connection
    import os
    import threading

    parent = multiprocessing.parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def watch() -> None:
        multiprocessing.connection.wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="end with parent", daemon=True).start()


def take(path: Path) -> Any:
    """The lock on the file `path`, which is made; None when another process holds it.

    The system lets it go when its holder ends, however it ends. OSError when the file cannot be made,
    NotImplementedError on a disk that has no locks.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    for _ in range(3):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        if path.exists():  # else its last holder has just removed it: others would lock a new one
            return lock
        lock.release()
    return None


def give_back(lock: Any) -> None:
    """Remove the lock's file and release it; None is no lock."""
    if lock is None:
        return
    with contextlib.suppress(OSError):  # Windows removes no open file: there it stays
        Path(lock.lock_file).unlink()
    lock.release()


def hold(path: Path, what: str) -> Any:
    """The lock on `path`, for as long as this process lives or until `give_back`.

    OutputError, saying `what` is in use, when another process holds it, or when it cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = take(path)
    except NotImplementedError:  # a disk without locks: two runs at once are then the user's to avoid
        return None
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    if lock is None:
        raise OutputError(f"another process is writing {what}: wait for it, or choose another place")
    return lock
