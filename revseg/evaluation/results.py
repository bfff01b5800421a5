"""Results on disk: JSON lines, one row per (video, query), from which everything else is computed.

The first line is the *header*: the model's full spec, the dataset's spec, the number of samples, the versions. Each
other line is a row (see `Row`). While an evaluation runs, its rows are in *shards* beside the file, one per worker:
`FILE.shard-0000` and so on, in the same format. When all rows are there, they are merged into FILE in the dataset's
order, and the shards are removed.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from revseg import output
from revseg.errors import InputError, OutputError
from revseg.evaluation.row import Row as Row
from revseg.evaluation.row import parse_line, row_from
from revseg.evaluation.row import to_line as to_line
from revseg.masks.rle import brief
from revseg.untrusted.reading import checked

FORMAT, VERSION = "revseg-results", 2  # 2: frame numbers of the source alone
_HEAD = re.compile(rb'\{"index": (\d{1,9}), "failure": (null|")(crash:)?')


@dataclass(frozen=True, eq=False)
class Results:
    """A results file, finished or not. Iterating reads one row at a time, in the dataset's order."""

    path: Path
    header: Mapping[str, Any]
    places: Mapping[int, tuple[Path, int]]  # where each row starts, by index, in order

    @staticmethod
    def open(path: str | Path) -> "Results":
        """Reads where the rows start, not the rows. A torn last line, left by a killed process, is ignored.

        Raises InputError when neither the file nor a shard exists, and for a file of another kind.
        """
        if Path(path).is_dir():
            raise InputError(f"{path} is a folder; expected a results file, which `revseg evaluate` writes")
        found = Results.find(path)
        if found is None:
            raise InputError(f"{path}: no such results file; `revseg evaluate` writes one")
        return found

    @staticmethod
    def find(path: str | Path) -> "Results | None":
        """As `open`, but None when nothing has been written yet, not even a whole header."""
        for _ in range(3):  # again if another process merged the shards meanwhile
            try:
                return _open(Path(path))
            except FileNotFoundError:
                continue
        return None

    def __len__(self) -> int:
        return len(self.places)

    def __repr__(self) -> str:
        return f"Results({str(self.path)!r}, {len(self)} of {self.samples} rows)"

    def __iter__(self) -> Iterator[Row]:
        for (index, (file, _)), line in zip(self.places.items(), self.lines(), strict=True):
            yield row_from(line, file, index)

    def row(self, index: int) -> Row:
        """The row of one sample, without reading the others. KeyError when it has not been written yet."""
        place, start = self.places[index]
        with place.open("rb") as file:
            file.seek(start)
            return row_from(file.readline(), place, index)

    def lines(self) -> Iterator[bytes]:
        """The rows as they are on disk, each with its newline."""
        files: dict[Path, Any] = {}
        try:
            for place, start in self.places.values():
                if place not in files:
                    files[place] = place.open("rb")
                files[place].seek(start)
                yield files[place].readline()
        finally:
            for file in files.values():
                file.close()

    @property
    def samples(self) -> int:
        """The number of rows of the finished file."""
        return int(self.header["samples"])

    @property
    def finished(self) -> bool:
        return len(self) == self.samples

    def summary(self) -> dict[str, Any]:
        """Plain JSON: samples, rows, finished, the count of each failure, and the rows with a reply that was cut off.

        Reads all rows.
        """
        failures: Counter[str] = Counter()
        cut_off = 0
        for row in self:
            failures.update([row.failure] if row.failure else [])
            cut_off += row.cut_off
        crashed = sum(n for kind, n in failures.items() if kind.startswith("crash:"))
        counts = {"samples": self.samples, "rows": len(self), "finished": self.finished, "crashed": crashed}
        return {**counts, "cut_off": cut_off, "failures": dict(failures.most_common())}


def shards(path: Path) -> list[Path]:
    """The shards beside a results file."""
    return sorted(
        p for p in path.parent.glob("*.shard-*") if re.fullmatch(rf"{re.escape(path.name)}\.shard-\d+", p.name)
    )


def merge(path: Path) -> Results:
    """Merge the shards into the file if they have every row; otherwise leave them.

    Any number of processes may call it at any time: the file is replaced in one step, with the same content.
    """
    results = Results.open(path)
    if not results.finished or not shards(path):
        return results
    try:
        with output.fresh_file(path, overwrite=True) as part, part.open("xb") as file:
            file.write(to_line(results.header))
            for line in results.lines():
                file.write(line)
    except OutputError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        return Results.open(path)  # another process was first, and removed the shards
    for shard in shards(path):
        shard.unlink(missing_ok=True)
    return Results.open(path)


def _open(path: Path) -> Results:
    files = [*([path] if path.exists() else []), *shards(path)]
    if not files:
        raise FileNotFoundError(path)
    headers: list[dict[str, Any]] = []
    found: dict[int, tuple[bool, Path, int]] = {}
    for file in files:
        for start, line in _complete_lines(file):
            head = _HEAD.match(line)
            if head:
                index, crashed = int(head[1]), head[3] is not None
            else:
                data = parse_line(line, file)
                if data.get("format") == FORMAT:
                    headers.append(_checked(data, file))
                    continue
                if not headers or "index" not in data:
                    raise InputError(f"{file}: expected a results file of revseg: a header, then rows with an index")
                row = row_from(data, file, data["index"])
                index, crashed = row.index, row.crashed
            if index not in found or (found[index][0] and not crashed):  # a sample that was tried again
                found[index] = (crashed, file, start)
    if not headers:
        if path.exists():
            raise InputError(
                f"{path}: expected a results file of revseg, got {path.stat().st_size} bytes without a header"
            )
        raise FileNotFoundError(path)
    largest = max(headers, key=lambda header: header["samples"])
    return Results(path, largest, {i: found[i][1:] for i in sorted(found)})


def _complete_lines(file: Path) -> Iterator[tuple[int, bytes]]:
    start = 0
    with file.open("rb") as stream:
        for line in stream:
            if line.endswith(b"\n"):
                yield start, line
            start += len(line)


def _checked(header: dict[str, Any], file: Path) -> dict[str, Any]:
    from revseg.untrusted.record_types import HeaderFields

    if header.get("version") != VERSION:
        raise InputError(
            f"{file}: expected version {VERSION} of the format, got {brief(header.get('version'))}: evaluate again, or "
            "read it with the release of revseg that its header names"
        )
    checked(header, HeaderFields, f"{file}: header")
    return header
