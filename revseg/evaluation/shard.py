"""The file of one worker: append-only, so that a killed process loses at most the row it was writing."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from revseg.errors import InputError, OutputError
from revseg.evaluation.results import Results
from revseg.evaluation.row import to_line
from revseg.locks import give_back, hold
from revseg.masks.rle import brief


@contextlib.contextmanager
def shard(path: Path, rank: int, header: Mapping[str, Any]) -> Iterator[BinaryIO]:
    """The shard of worker `rank`, open for `append`; a torn last line of an earlier run is cut off.

    OutputError when another process is writing it, or when it cannot be written.
    """
    place = path.with_name(f"{path.name}.shard-{rank:04d}")
    lock = hold(place.with_name(f"{place.name}.lock"), str(path))
    try:
        with _opened(place) as file:
            first = file.readline()
            if first != to_line(header):  # a new file, or a larger limit: the header with more samples counts
                append(file, header)
            yield file
    finally:
        give_back(lock)


def _opened(place: Path) -> BinaryIO:
    """Open for reading at the start and writing at the end, without a torn last line.

    Unbuffered: a buffer that could not be written would be written again when the file is closed.
    """
    try:
        file: Any = place.open("a+b", buffering=0)
        _cut_torn_line(file)
        file.seek(0)
    except OSError as error:
        raise OutputError(f"cannot write {place}: {error.strerror or error}") from error
    return file


def append(file: BinaryIO, data: Mapping[str, Any]) -> None:
    """Write one line, passed to the operating system at once."""
    left = memoryview(to_line(data))
    try:
        while left:
            left = left[file.write(left) :]
    except OSError as error:
        raise OutputError(f"cannot write {file.name}: {error.strerror or error}; run again to continue") from error


def check_same_run(results: Results, header: Mapping[str, Any]) -> None:
    """InputError when the file has rows of another model, dataset or version, which must not be mixed."""
    for key in {**header, **results.header}:  # rescored results have an extra key
        if key != "samples" and results.header.get(key) != header.get(key):
            differs = _difference(results.header.get(key), header.get(key))
            raise InputError(
                f"{results.path} holds rows of another run: its {key} is {differs}; "
                "choose another file, or start over (resume=False, --no-resume)"
            )
    if results.samples > header["samples"]:
        raise InputError(
            f"{results.path} is of {results.samples} samples, more than the {header['samples']} asked for; choose "
            "another file, or start over (resume=False, --no-resume)"
        )


def _difference(held: Any, asked: Any) -> str:
    if isinstance(held, Mapping) and isinstance(asked, Mapping):
        keys = [k for k in {**held, **asked} if held.get(k) != asked.get(k)][:8]
        held, asked = ({k: side.get(k) for k in keys} for side in (held, asked))
    return f"{brief(held, 300)}, now {brief(asked, 300)}"


def _cut_torn_line(file: BinaryIO) -> None:
    end = file.seek(0, 2)
    position = end
    while position > 0:
        start = max(0, position - 65536)
        file.seek(start)
        newline = file.read(position - start).rfind(b"\n")
        if newline >= 0:
            position = start + newline + 1
            break
        position = start
    if position < end:
        file.truncate(position)
    file.seek(0, 2)
