"""Several processes: locks on files, and workers that end with the process that started them."""

import contextlib
from pathlib import Path
from typing import Any

from revseg.errors import OutputError


def end_with_parent() -> None:
    """End this process, a worker of `multiprocessing`, as soon as its parent ends, even if the parent is killed.

    A worker that outlived it would keep its GPU, locks and files. The parent's sentinel, which the operating system
    closes, is watched, so this works wherever `multiprocessing` does.
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
    """Lock the file `path`, which is created; None when another process has locked it.

    The operating system releases the lock when its process ends for any reason. OSError when the file cannot be
    created, NotImplementedError on a disk without locks.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    for _ in range(3):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        if path.exists():  # else another process has just removed it, and others would lock a new file
            return lock
        lock.release()
    return None


def give_back(lock: Any) -> None:
    """Release a lock and remove its file; nothing for None."""
    if lock is None:
        return
    with contextlib.suppress(OSError):  # Windows cannot remove an open file, which then stays
        Path(lock.lock_file).unlink()
    lock.release()


def hold(path: Path, what: str) -> Any:
    """Lock `path` until `give_back` or the end of this process.

    OutputError when another process has locked it, saying that `what` is in use, or when it cannot be created.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = take(path)
    except NotImplementedError:  # a disk without locks: the user has to avoid two runs at once
        return None
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    if lock is None:
        raise OutputError(f"another process is writing {what}: wait for it, or choose another place")
    return lock
