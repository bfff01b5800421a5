"""The file of the data filter: one score per video, by which a dataset is used without its bad videos.

The finished file is one JSON object. While the filter runs, its rows are in shards beside it, one per process
(`FILE.shard-0000` and so on): a header line, then a line per video. `revseg.training.filter_run` writes both.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NotRequired

from pydantic import Field
from typing_extensions import TypedDict  # pydantic supports typing's own from Python 3.12 only

from revseg.errors import InputError
from revseg.untrusted.reading import checked, parse_json

FORMAT, VERSION = "revseg-filter", 1
Score = Annotated[float, Field(ge=0, le=1)]


class _Header(TypedDict):
    format: str
    version: int
    videos: Annotated[int, Field(ge=0)]
    dataset: Any
    dataset_length: Annotated[int, Field(ge=0)]
    tracker: Any
    whole: bool
    threshold: Score
    files: dict[str, str]
    versions: dict[str, Any]


class _Row(TypedDict):
    video: str
    score: Score | None
    error: NotRequired[str]


class _Document(_Header):
    scores: dict[str, Score | None]
    unreadable: dict[str, str]


@dataclass(frozen=True)
class FilterFile:
    """`scores`: mean IoU by video id, None where nothing was visible; `unreadable`: errors of videos without a score.

    Videos are in the order of the dataset once the file is finished.
    """

    path: Path
    header: Mapping[str, Any]
    scores: Mapping[str, float | None]
    unreadable: Mapping[str, str]

    @staticmethod
    def open(path: str | Path) -> "FilterFile":
        """InputError where there is none, or one of another kind."""
        found = FilterFile.find(path)
        if found is None:
            raise InputError(f"{path}: no such filter file; `revseg filter` writes one")
        return found

    @staticmethod
    def find(path: str | Path) -> "FilterFile | None":
        """As `open`, but None where nothing has been written yet."""
        path = Path(path)
        for _ in range(3):  # again if another process finished the file meanwhile and removed the shards
            try:
                return _whole(path) if path.exists() else _from_shards(path)
            except FileNotFoundError:
                continue
        return None

    @property
    def judged(self) -> int:
        return len(self.scores) + len(self.unreadable)

    @property
    def finished(self) -> bool:
        return self.judged == self.header["videos"]

    def kept(self, threshold: float | None = None) -> list[str]:
        """The videos that passed. One in which no target is ever visible passes: nothing speaks against it."""
        least = self.header["threshold"] if threshold is None else threshold
        return [video for video, score in self.scores.items() if score is None or score >= least]

    def summary(self) -> dict[str, Any]:
        """Plain JSON: counts, and the threshold."""
        counts = {"videos": self.header["videos"], "judged": self.judged, "kept": len(self.kept())}
        return {**counts, "unreadable": len(self.unreadable), "threshold": self.header["threshold"]}


def filter_shards(path: Path) -> list[Path]:
    """The shards beside a filter file."""
    names = re.compile(rf"{re.escape(path.name)}\.shard-\d+")
    return sorted(p for p in path.parent.glob("*.shard-*") if names.fullmatch(p.name))


def _whole(path: Path) -> FilterFile:
    data = parse_json(path.read_bytes(), str(path), "a filter file of revseg")
    _check_format(data, path)
    document: dict[str, Any] = {**checked(data, _Document, str(path))}
    scores, unreadable = document.pop("scores"), document.pop("unreadable")
    return FilterFile(path, document, scores, unreadable)


def _from_shards(path: Path) -> FilterFile | None:
    headers: list[Mapping[str, Any]] = []
    scores: dict[str, float | None] = {}
    unreadable: dict[str, str] = {}
    for file in filter_shards(path):
        for data in _complete_lines(file):
            if isinstance(data, dict) and "format" in data:
                _check_format(data, file)
                headers.append(checked(data, _Header, str(file)))
                continue
            row = checked(data, _Row, str(file))
            if "error" in row:
                unreadable[row["video"]] = row["error"]
            else:
                scores[row["video"]] = row["score"]
    if not headers and not (scores or unreadable):
        return None
    if not headers:
        raise InputError(f"{path}: its shards have no header; remove them and start again")
    return FilterFile(path, headers[0], scores, unreadable)


def _complete_lines(file: Path) -> Iterator[Any]:
    """Without a last line that a killed process left unfinished."""
    with file.open("rb") as stream:
        for line in stream:
            if line.endswith(b"\n"):
                yield parse_json(line, str(file), "one JSON object per line")


def _check_format(data: Any, file: Path) -> None:
    found = data.get("format") if isinstance(data, dict) else None
    if found != FORMAT:
        raise InputError(f"{file}: expected a filter file, which `revseg filter` writes")
    if data.get("version") != VERSION:
        raise InputError(f"{file}: expected version {VERSION} of the format, got {data.get('version')!r:.40}")
