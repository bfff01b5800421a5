"""Where the files of other projects keep the masks of a query: names of video, expression and frames."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from revseg.errors import InputError
from revseg.evaluation.row import Row
from revseg.masks import MaskTrack
from revseg.masks.rle import brief
from revseg.types import Sample


@dataclass(frozen=True)
class Asked:
    """One query and its names elsewhere."""

    id: str
    video: str
    expression: str
    frames: tuple[str, ...]  # names without suffix, in the video's order
    size: tuple[int, int]  # height, width
    text: str
    meta: Mapping[str, Any]

    @property
    def places(self) -> tuple[tuple[str, str], ...]:
        """(video, expression) under which the masks may be filed, the likeliest first.

        The query's id comes first, because it is unique; ReasonVOS numbers expressions per object, and files them
        under `{source}_{video}_{object}`.
        """
        first = self.place
        other = (str(self.meta.get("video", self.video)), str(self.meta.get("exp_id", self.expression)))
        return (first,) if first == other else (first, other)

    @property
    def place(self) -> tuple[str, str]:
        """(video, expression) under which the masks are written."""
        return self.video, self.expression


@runtime_checkable
class Reader(Protocol):
    """Finds the predicted masks of a query; None when there are none. A frame without a prediction is left out."""

    def __call__(self, asked: Asked, /) -> MaskTrack | None: ...


@runtime_checkable
class Format(Protocol):
    """One layout of files. `suffix` is that of its file, "" for a folder."""

    @property
    def about(self) -> str: ...
    @property
    def suffix(self) -> str: ...
    def write(self, results: Iterable[tuple[Asked, MaskTrack]], out: Path, /) -> None: ...
    def open(self, path: Path, /) -> Reader: ...


def asked_of(sample: Sample) -> Asked:
    """The names of a sample of a dataset."""
    size, length = sample.video.size, len(sample.video)
    return _asked(sample.query.id, sample.query.text, sample.video.id, size, length, sample.meta)


def asked_in(row: Row) -> Asked:
    """The names of a row. InputError for a sample that could not be read, whose size is unknown."""
    video = row.data.get("video")
    if not video or row.query is None:
        raise InputError(f"row {row.index} could not be loaded ({row.failure}): evaluate again with retry")
    return _asked(row.query, row.text, video["id"], tuple(video["size"]), video["frames"], row.meta)


def _asked(id: str, text: str, video: str, size: tuple[int, int], length: int, meta: Mapping[str, Any]) -> Asked:
    frames = meta.get("frames")
    if frames is None:
        frames = [f"{i:05d}" for i in range(length)]
    if not isinstance(frames, list) or len(frames) != length or not all(isinstance(f, str | int) for f in frames):
        raise InputError(
            f"query {id!r}: expected meta['frames'] to be the names of {length} frames, got {brief(frames)}"
        )
    if id.startswith(f"{video}/"):
        name, expression = video, id[len(video) + 1 :]
    else:
        name, _, expression = id.rpartition("/")
    return Asked(id, name or video, expression, tuple(map(str, frames)), size, text, meta)
