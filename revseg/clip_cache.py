"""Clips on disk, for data on slow file systems: a sampler that keeps what another sampler chose.

A clip is known by its source (path, sizes and modification times of its files), the sampler with its options, and `n`:
a changed video or another sampler never meets an old clip. What cannot be read back is decoded again. Files are written
under another name and renamed, and are removed only whole, so any number of processes may share a folder.
"""

import contextlib
import hashlib
import json
import os
import re
import struct
import time
import uuid
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from revseg.errors import InputError, RevsegWarning
from revseg.registry import build, register, spec_of
from revseg.spec import read_spec
from revseg.types import Clip, Query, Sampler
from revseg.video import FolderReader, Video

FORMAT = 1  # part of every key: raised when what a file holds changes
BLIND = ("uniform", "fps", "head", "stride", "at")  # samplers that never read the query
NAME = re.compile(r"[0-9a-f]{40}\.npz(\.[0-9a-f]{32}\.part)?")  # of what is written here, and may be removed
FORGOTTEN = 3600.0  # seconds after which a file that is not finished is that of a killed process
UNREADABLE = (  # what NumPy and zipfile raise for damaged files
    OSError,
    ValueError,
    KeyError,
    EOFError,
    RuntimeError,
    MemoryError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


@register("sampler", "cached")
class CachedSampler:
    """Another sampler, whose clips are kept in a folder, pixel for pixel. Arrays and generated videos are not kept.

    A clip of 16 frames of 720p takes 44 MB. The clips used longest ago make room for new ones.

    Options:
        of: the sampler, as its spec.
        path: the folder of the clips; it is made if it does not exist, and may be shared by processes and datasets.
        gigabytes: most that the folder may hold (10⁹ bytes). Each process that writes may add 1/64 of it at most.
    """

    def __init__(self, *, path: str | Path, of: Any = "uniform", gigabytes: float = 50.0) -> None:
        if not 0 < gigabytes < float("inf"):
            raise InputError(f"expected gigabytes above 0, got {gigabytes}")
        self.folder, self.limit = Path(path), int(gigabytes * 1e9)
        self.sampler: Sampler = build("sampler", of)
        self._spec = _settled(of)
        self._unchecked = self.limit  # bytes written since the folder was last measured
        self._warned = False

    def __call__(self, video: Video, query: Query, n: int, /) -> Clip:
        source = _source(video)
        if source is None or self._spec is None:
            return self.sampler(video, query, n)
        asked = None if self._spec["name"] in BLIND else [query.id, query.text]
        key = json.dumps([FORMAT, source, self._spec, n, asked], sort_keys=True)
        path = self.folder / f"{hashlib.blake2b(key.encode(), digest_size=20).hexdigest()}.npz"
        found = _read(path, video)
        if found is None:
            found = self.sampler(video, query, n)
            if found.frames.nbytes <= self.limit:
                self._keep(path, found)
        return found

    def _keep(self, path: Path, clip: Clip) -> None:
        """Write a clip. A folder that cannot be written is a warning: the clip is there, and the run goes on."""
        part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._make_room(clip.frames.nbytes)
            try:
                with part.open("xb") as file:
                    np.savez(file, frames=clip.frames, frame_ids=clip.frame_ids)
                os.replace(part, path)
            finally:
                part.unlink(missing_ok=True)
        except OSError as error:
            if not self._warned:
                message = (
                    f"clips cannot be kept in {self.folder}: {error.strerror or error}; they are decoded each time"
                )
                warnings.warn(message, RevsegWarning, stacklevel=3)
            self._warned = True

    def _make_room(self, size: int) -> None:
        """Remove the clips used longest ago, when this process has written enough for the folder to be too large."""
        self._unchecked += size
        if self._unchecked <= self.limit // 64:
            return
        files = sorted(_files(self.folder))
        excess = sum(held for _, held, _ in files) + size + self.limit // 64 - self.limit
        for _, held, path in files:
            if excess <= 0:
                break
            path.unlink(missing_ok=True)  # another process may have been first
            excess -= held
        self._unchecked = size


def _settled(of: Any) -> dict[str, Any] | None:
    """Name and options of the sampler; None for one without a spec, which cannot be told from others."""
    spec = spec_of(of)
    if not isinstance(spec, str | dict) or (isinstance(spec, dict) and "name" not in spec):
        return None
    name, options = read_spec("sampler", spec)
    return {"name": name, "options": {key: repr(value) for key, value in options.items()}}


def _source(video: Video) -> list[Any] | None:
    """What tells a video on disk from any other, and from an older state of itself; None for other videos."""
    from revseg.video.file import FileReader

    reader = video.reader
    if isinstance(reader, FileReader):
        paths = [Path(reader.path)]
    elif isinstance(reader, FolderReader):
        paths = list(reader.paths)
    else:
        return None
    try:
        states = [(str(path.absolute()), (state := path.stat()).st_size, state.st_mtime_ns) for path in paths]
    except OSError:  # reading it will say what is wrong
        return None
    digest = hashlib.blake2b(json.dumps(states).encode("utf-8", "surrogateescape"), digest_size=20).hexdigest()
    return [digest, list(video.size), video.fps, len(video)]


def _read(path: Path, video: Video) -> Clip | None:
    """The clip that was kept; None where there is none, or a damaged one (each part has a checksum)."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as held:
            frames, ids = held["frames"], held["frame_ids"]
    except UNREADABLE:
        return None
    fits = frames.dtype == np.uint8 and ids.dtype == np.int64 and frames.shape == (len(ids), *video.size, 3)
    if not fits or not len(ids) or ids.min() < 0 or ids.max() >= len(video):
        return None
    with contextlib.suppress(OSError):  # removed by another process meanwhile, or not ours to touch
        os.utime(path)  # used now: the last to be removed
    return Clip(frames, ids)


def _files(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """(last used, bytes, path) of the clips; what killed processes left is removed, and other files are let be."""
    for entry in os.scandir(folder):
        if not NAME.fullmatch(entry.name):
            continue
        try:
            state = entry.stat()
            if entry.name.endswith(".part"):
                if time.time() - state.st_mtime > FORGOTTEN:
                    Path(entry.path).unlink()
                continue
        except FileNotFoundError:  # another process has finished or removed it
            continue
        yield state.st_mtime, state.st_size, Path(entry.path)
