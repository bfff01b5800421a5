"""Results on disk: JSON lines, one row per (video, query), from which everything else is computed.

The first line is the *header*: the model's full spec, the dataset's spec, the number of samples, the versions. Each
other line is a row (see `Row`). While an evaluation runs, its rows lie in *shards* beside the file, one per worker,
`FILE.shard-0000` and so on, each a file of the same format. Once every row is there they are merged into FILE, in the
dataset's order whatever the number of workers, and the shards go.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from revseg import output
from revseg.errors import InputError
from revseg.masks import MaskTrack
from revseg.masks.rle import brief
from revseg.serialise import rollout_from
from revseg.types import Rollout
from revseg.untrusted.reading import checked, parse_json

FORMAT, VERSION = "revseg-results", 2  # 2: frame numbers of the source alone
_HEAD = re.compile(rb'\{"index": (\d{1,9}), "failure": (null|")(crash:)?')


@dataclass(frozen=True, eq=False)
class Row:
    """One (video, query), as its JSON object `data`.

    Keys: "index" (in the dataset), "failure" (None, "round 1: no_json", or "crash:ValueError" when our code broke),
    "detail" (of the failure), "video" (id, size, fps, frames), "query" (id, text), "status", "ended" (what ended the
    conversation when it was no reply), "frame_ids" and "frame_size" (that the policy saw), "rounds" (prompt, what it
    asks, reply, why it ended, answer with its error and form; how many rounds had to follow), "due_rounds", "form",
    "groundings", "objects", "visible_frames", "rewards" (None unless every sampled frame has a truth), "masks" and
    "truth" (`MaskTrack.to_dict`), "meta" (of the sample) and "timings" (in seconds; all that differs between two runs
    of the same model). A crash leaves None for what it prevented. A sample that could not be read has no "video" and
    "query", but "listed": the ids and the text that its dataset's files list, where it knows them without reading the
    sample.
    """

    data: Mapping[str, Any]
    where: str = ""  # the file and the row, for errors

    def __repr__(self) -> str:
        return f"Row({self.index}, {self.video!r}, {self.query!r}, {self.failure or self.data.get('status')})"

    @property
    def index(self) -> int:
        return int(self.data["index"])

    @property
    def failure(self) -> str | None:
        return self.data.get("failure")

    @property
    def crashed(self) -> bool:
        """True when our code broke on this sample; a reply that did not parse is no crash."""
        return (self.failure or "").startswith("crash:")

    @property
    def loaded(self) -> bool:
        """False when the sample could not even be read."""
        return bool(self.data.get("video"))

    @property
    def cut_off(self) -> bool:
        """True when a reply ended at the token limit instead of by itself."""
        return any(turn.get("finish_reason") == "length" for turn in self.data.get("rounds") or [])

    @property
    def video(self) -> str | None:
        """The video's id; None when the sample could not be read and its dataset does not list it."""
        return (self.data.get("video") or {}).get("id", self._listed.get("video"))

    @property
    def query(self) -> str | None:
        """The query's id, or None, as for `video`."""
        return self._query.get("id")

    @property
    def text(self) -> str:
        return self._query.get("text", "")

    @property
    def meta(self) -> Mapping[str, Any]:
        return self.data.get("meta") or {}

    @property
    def _listed(self) -> Mapping[str, Any]:
        listed = self.data.get("listed")
        return listed if isinstance(listed, Mapping) else {}

    @property
    def _query(self) -> Mapping[str, Any]:
        return self.data.get("query") or self._listed.get("query") or {}

    @cached_property
    def masks(self) -> MaskTrack | None:
        """The prediction on every frame; None after a crash that prevented it. InputError when it is damaged."""
        return self._track("masks")

    @cached_property
    def truth(self) -> MaskTrack | None:
        return self._track("truth")

    @cached_property
    def rollout(self) -> Rollout | None:
        """The conversation, but for its pixels (`serialise.rollout_from`); None when there was none, as in a crash.

        InputError when it is damaged.
        """
        return None if self.data.get("rounds") is None else rollout_from(self.data, self.where or "the row")

    def _track(self, key: str) -> MaskTrack | None:
        data = self.data.get(key)
        return None if data is None else MaskTrack.from_dict(data, f"{self.where}: {key}" if self.where else key)


@dataclass(frozen=True, eq=False)
class Results:
    """A results file, finished or not. Iterating reads row by row, in the dataset's order, and holds one at a time."""

    path: Path
    header: Mapping[str, Any]
    places: Mapping[int, tuple[Path, int]]  # where each row starts, by index, in order

    @staticmethod
    def open(path: str | Path) -> "Results":
        """Reads where the rows are, not the rows. A torn last line (a killed process) does not count.

        Raises InputError when there is neither the file nor a shard of it, or something that is not such a file.
        """
        if Path(path).is_dir():
            raise InputError(f"{path} is a folder; expected a results file, which `revseg evaluate` writes")
        found = Results.find(path)
        if found is None:
            raise InputError(f"{path}: no such results file; `revseg evaluate` writes one")
        return found

    @staticmethod
    def find(path: str | Path) -> "Results | None":
        """As `open`, but None when nothing is there yet, not even a whole header."""
        for _ in range(3):  # again when another process merged the shards meanwhile
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
            yield _row(line, file, index)

    def row(self, index: int) -> Row:
        """The row of one sample of the dataset, without reading the others. KeyError when it is not there yet."""
        place, start = self.places[index]
        with place.open("rb") as file:
            file.seek(start)
            return _row(file.readline(), place, index)

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
        """How many rows the evaluation is to have."""
        return int(self.header["samples"])

    @property
    def finished(self) -> bool:
        return len(self) == self.samples

    def summary(self) -> dict[str, Any]:
        """Plain JSON: samples, rows, finished, how often each failure occurred, and how many rows hold a reply that was
        cut off at the token limit; reads all rows."""
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
    """Shards that together hold every row become the file; fewer stay as they are.

    Any number of processes may call it at any time: the file is replaced in one step, and with the same content.
    """
    results = Results.open(path)
    if not results.finished or not shards(path):
        return results
    try:
        with output.fresh_file(path, overwrite=True) as part, part.open("xb") as file:
            file.write(to_line(results.header))
            for line in results.lines():
                file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except FileNotFoundError:  # another process was first
        return Results.open(path)
    for shard in shards(path):
        shard.unlink(missing_ok=True)
    return Results.open(path)


def to_line(data: Mapping[str, Any]) -> bytes:
    """One line of a results file. ASCII, so that no reply of a model can break it."""
    return json.dumps(data, ensure_ascii=True).encode("ascii") + b"\n"


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
                data = _parsed(line, file)
                if data.get("format") == FORMAT:
                    headers.append(_checked(data, file))
                    continue
                if not headers or "index" not in data:
                    raise InputError(f"{file}: expected a results file of revseg: a header, then rows with an index")
                row = _row(data, file, data["index"])
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


def _row(line: bytes | Mapping[str, Any], file: Path, index: Any) -> Row:
    """A line, or what was read of it, as a row all of whose fields are what they should be, but for the masks."""
    from revseg.untrusted.record_types import RowFields

    where = f"{file}: row {brief(index)}"
    data = _parsed(line, file) if isinstance(line, bytes) else line
    return Row(checked(data, RowFields, where), where)


def _parsed(line: bytes, file: Path) -> dict[str, Any]:
    data = parse_json(line, str(file), "one JSON object a line")
    if not isinstance(data, dict):
        raise InputError(f"{file}: expected one JSON object a line, got {brief(line)}")
    return data


def _checked(header: dict[str, Any], file: Path) -> dict[str, Any]:
    from revseg.untrusted.record_types import HeaderFields

    if header.get("version") != VERSION:
        raise InputError(
            f"{file}: expected version {VERSION} of the format, got {brief(header.get('version'))}: evaluate again, or "
            "read it with the release of revseg that its header names"
        )
    checked(header, HeaderFields, f"{file}: header")
    return header
