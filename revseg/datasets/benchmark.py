"""The base class of the benchmarks' readers: an index of expressions, from which samples are read one at a time."""

import fnmatch
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from revseg.datasets.layout import existing, expressions_of, inside, open_frames, read_videos
from revseg.errors import InputError
from revseg.masks import MaskTrack
from revseg.types import Query, Sample
from revseg.untrusted.reading import read_text
from revseg.video import Video


@dataclass(frozen=True)
class Item:
    """One expression of a benchmark, as its files list it; no frame or mask has been read."""

    video: str  # the official id; may contain slashes
    exp_id: str
    text: str
    frames: tuple[str, ...]  # names without suffix; index i is frame i of the video and of the truth
    folder: Path  # of the frames
    fields: Mapping[str, Any] = field(default_factory=dict)  # for `Sample.meta`
    id: str = ""  # of the query, if "<video>/<exp_id>" is not unique

    @property
    def query_id(self) -> str:
        return self.id or f"{self.video}/{self.exp_id}"


class Benchmark(ABC):
    """A sequence of samples in the order of the official file. Opening it reads the expressions, no frame or mask.

    A sample's `meta` has "dataset", "split", "video", "exp_id", "frames" (names, in the video's order) and the fields
    of the expression in the official file, under the official names.
    """

    name: ClassVar[str]
    official: ClassVar[Mapping[str, Mapping[str, int]]] = {}  # per split, the numbers of "videos" and "expressions"
    frames_per_second: ClassVar[float | None] = None  # None: unknown
    source: ClassVar[str] = ""  # where to get it, its size and licence; for `revseg data check`

    def __init__(
        self, root: str | Path, split: str, items: Sequence[Item], exclude: str | Sequence[str], fps: float | None
    ) -> None:
        if fps is not None and not 0 < fps < float("inf"):
            raise InputError(f"expected fps above 0, got {fps}")
        patterns = read_patterns(exclude)
        kept = [item for item in items if not excluded(item, patterns)]
        twice = [id for id, times in Counter(item.query_id for item in kept).items() if times > 1]
        if twice:
            raise InputError(f"{root}: expected every expression once, got {twice[0]!r} twice")
        for item in kept:
            inside(item.folder, item.exp_id)  # ids become paths of results, which must stay in their folder
        self.root, self.split, self.fps = Path(root), split, fps or self.frames_per_second
        self.items, self.excluded = tuple(kept), len(items) - len(kept)

    @abstractmethod
    def truth(self, item: Item, video: Video) -> MaskTrack | None:
        """The item's masks, one row per object; one empty row if the target is not in the video; None without masks."""

    def meta(self, item: Item) -> dict[str, Any]:
        """Further fields of `Sample.meta`. Must not fail if frames or masks are missing."""
        return {}

    def completed(self, item: Item) -> Item:
        """The item with what only its folders tell; called when the sample is read."""
        return item

    def rate(self, item: Item) -> float | None:
        """Frames per second of a completed item's video; None if unknown."""
        return self.fps

    def listed(self, index: int) -> tuple[str, Query, dict[str, Any]]:
        """(video id, query, meta) of a sample from the official lists alone, for samples whose files are damaged."""
        item = self.items[index]
        return item.video, Query(item.query_id, item.text), self._meta(item)

    def faults(self, sample: Sample) -> list[str]:
        """Known faults of this benchmark that this sample has; for `revseg data check`."""
        return []

    def video_ids(self) -> list[str]:
        """The id of each item's video."""
        return [item.video for item in self.items]

    def expected_counts(self) -> Mapping[str, int]:
        """The numbers of "videos" and "expressions" in the full split, as far as they are known."""
        return self.official.get(self.split, {})

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.root}, {self.split}: {len(self)} expressions)"

    def __getitem__(self, index: int) -> Sample:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        item = self.completed(self.items[index])
        video = open_frames(item.video, item.folder, item.frames, self.rate(item))
        return Sample(video, Query(item.query_id, item.text), self.truth(item, video), self._meta(item))

    def _meta(self, item: Item) -> dict[str, Any]:
        return {
            "dataset": self.name,
            "split": self.split,
            "video": item.video,
            "exp_id": item.exp_id,
            "frames": list(item.frames),
            **item.fields,
            **self.meta(item),
        }


def index(path: Path, images: Path, only: Container[str] | None = None) -> list[Item]:
    """The expressions of a `meta_expressions.json` whose frames are in `images/<video>`, of the videos `only`.

    `Item.fields` are the file's fields of each expression without its text.
    """
    items = []
    for video, entry in read_videos(path).items():
        if only is not None and video not in only:
            continue
        frames = tuple(str(frame) for frame in entry["frames"])
        check_frames(path, video, frames)
        folder = inside(images, video)
        for exp_id, fields in expressions_of(path, video, entry):
            items.append(Item(video, exp_id, fields.pop("exp"), frames, folder, fields))
    return items


def check_frames(path: Path, video: str, frames: Sequence[str]) -> None:
    """InputError for a frame name that could lead out of the video's folder."""
    wrong = [frame for frame in frames if frame in ("", ".", "..") or "/" in frame or "\\" in frame]
    if wrong:
        raise InputError(f"{path}: video {video!r}: expected names of frames such as 00000, got {wrong[0]!r}")


def check_fields(path: Path, items: Sequence[Item], *names: str) -> None:
    """InputError for the first expression that lacks one of these fields."""
    for item in items:
        for name in names:
            if name not in item.fields:
                raise InputError(f'{path}: {item.query_id}: expected "{name}", got {", ".join(item.fields)}')


def check_split(split: str, splits: Sequence[str]) -> str:
    """The split; InputError, listing the known ones, for another."""
    if split not in splits:
        raise InputError(f"expected split to be one of {', '.join(splits)}; got {split!r}")
    return split


def check_root(root: str | Path, inner: str) -> Path:
    """The root as a path; InputError if `inner`, the first file that a reader needs, is not below it."""
    path = Path(root)
    existing(path / inner, f"{inner} below the root {path}")
    return path


def read_patterns(exclude: str | Sequence[str]) -> tuple[str, ...]:
    """Patterns of video or query ids, such as "TAO/*": a list, one pattern, or a .txt file with one per line."""
    if not isinstance(exclude, str):
        return tuple(str(pattern) for pattern in exclude)
    if exclude.endswith(".txt"):
        lines = read_text(
            existing(Path(exclude), "a list of ids to leave out"), "a list of ids to leave out"
        ).splitlines()
        return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    return (exclude,) if exclude else ()


def excluded(item: Item, patterns: Sequence[str]) -> bool:
    """Whether the id of the video or of the query matches one of the patterns; `*` matches slashes, too."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns for name in (item.video, item.query_id))


def as_list(value: Any) -> list[Any]:
    """A value that may be one id, a list of ids or None, as a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]


def texts(value: Any) -> list[str]:
    """`as_list` with each id as text, as the keys of JSON objects are."""
    return [str(one) for one in as_list(value)]
