"""Checks a dataset on disk, sample by sample, and reports what is wrong and where."""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from revseg import checked, registry
from revseg.datasets.layout import frame_files
from revseg.errors import RevsegError, SpecError
from revseg.progress import tracked
from revseg.spec import parse_spec
from revseg.types import (
    Dataset,
    HasCounts,
    HasExcluded,
    HasExpectedCounts,
    HasFaults,
    HasSource,
    HasVideoIds,
    ListsSamples,
    Sample,
)
from revseg.video import FolderReader

SHOWN = 20  # problems of one kind that `Report.text` lists


@dataclass(frozen=True)
class Problem:
    """One problem. `kind` is one of counts, unreadable, frames, length, size, empty, fault."""

    kind: str
    where: str  # the query or the video
    what: str


@dataclass(frozen=True)
class Report:
    """The result of `check`. `counts` maps "videos" and "expressions" to (found, official or None)."""

    dataset: str
    root: str
    checked: int
    counts: Mapping[str, tuple[int, int | None]]
    notes: tuple[str, ...]
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "dataset": self.dataset,
            "root": self.root,
            "ok": self.ok,
            "checked": self.checked,
            "counts": {name: {"found": n, "official": official} for name, (n, official) in self.counts.items()},
            "notes": list(self.notes),
            "problems": [vars(problem) for problem in self.problems],
        }

    def text(self) -> str:
        """For a terminal: the counts, then at most `SHOWN` problems of each kind."""
        lines = [f"{self.dataset} in {self.root}: {self.checked} samples checked"]
        for name, (found, official) in self.counts.items():
            lines.append(f"  {name}: {found}" + (f" (official: {official})" if official is not None else ""))
        lines += [f"  note: {note}" for note in self.notes]
        for kind in dict.fromkeys(problem.kind for problem in self.problems):
            of_kind = [problem for problem in self.problems if problem.kind == kind]
            lines += ["", f"{kind}: {len(of_kind)}"]
            lines += [f"  {problem.where}: {problem.what}" for problem in of_kind[:SHOWN]]
            lines += [f"  ... and {len(of_kind) - SHOWN} more (--json lists all)"] * (len(of_kind) > SHOWN)
        return "\n".join([*lines, "" if self.problems else "no problem found"])


def check(name: str, root: str, *, limit: int | None = None, progress: bool = False, **options: Any) -> Report:
    """Open a dataset and read every sample's masks and the sizes of its frames. Nothing is downloaded or changed.

    `name` may be a spec, such as "mevis:split=train"; `options` are the reader's. With `limit`, only so many samples
    are checked, evenly spaced. SpecError for an unknown dataset or option; every other problem is in the report.
    """
    short, given = parse_spec(name)
    notes = [f"available from {source}"] if (source := _source(short)) else []
    problems: list[Problem] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            dataset: Dataset = registry.build("dataset", {"name": short, "root": str(root), **given, **options})
        except SpecError:
            raise
        except RevsegError as error:
            return Report(name, str(root), 0, {}, tuple(notes), (Problem("unreadable", str(root), str(error)),))
    problems += [Problem("counts", str(root), str(warning.message)) for warning in caught]
    counts = _counts(dataset)
    if isinstance(dataset, HasCounts):
        notes += [f"{part}: {n} samples" for part, n in dataset.counts.items()]
    if excluded := dataset.excluded if isinstance(dataset, HasExcluded) else 0:
        notes.append(f"{excluded} expressions excluded, as asked")
    else:
        wrong = {what: pair for what, pair in counts.items() if pair[1] not in (None, pair[0])}
        problems += [
            Problem("counts", str(root), f"expected {n} {what}, got {got}") for what, (got, n) in wrong.items()
        ]
    chosen = _chosen(len(dataset), limit)
    unmasked = 0
    seen: set[str] = set()
    for index in tracked(chosen, "checking", len(chosen), show=progress):
        try:
            sample = dataset[index]
            unmasked += sample.truth is None
            problems += _of_sample(dataset, sample, seen)
        except RevsegError as error:
            problems.append(Problem("unreadable", _query_id(dataset, index), str(error)))
    if unmasked:
        notes.append(f"{unmasked} samples have no masks")
    return Report(name, str(root), len(chosen), counts, tuple(notes), tuple(dict.fromkeys(problems)))


def _source(name: str) -> str:
    """Where the dataset can be had; "" if its reader does not say."""
    part = registry.registry("dataset").get(name) if name in registry.names("dataset") else None
    return part.source if isinstance(part, HasSource) else ""


def _counts(dataset: Dataset) -> dict[str, tuple[int, int | None]]:
    official = dataset.expected_counts() if isinstance(dataset, HasExpectedCounts) else {}
    counts = {"expressions": (len(dataset), official.get("expressions"))}
    if isinstance(dataset, HasVideoIds):
        return {"videos": (len(set(dataset.video_ids())), official.get("videos")), **counts}
    return counts


def _chosen(length: int, limit: int | None) -> list[int]:
    if limit is None or limit >= length:
        return list(range(length))
    return [round(i) for i in np.linspace(0, length - 1, max(limit, 0))]


def _query_id(dataset: Dataset, index: int) -> str:
    """The id of a sample that cannot be read."""
    return dataset.listed(index)[1].id if isinstance(dataset, ListsSamples) else f"sample {index}"


def _of_sample(dataset: Dataset, sample: Sample, seen: set[str]) -> Iterator[Problem]:
    yield from _of_video(sample, seen)
    yield from _of_masks(sample)
    for fault in dataset.faults(sample) if isinstance(dataset, HasFaults) else ():
        yield Problem("fault", sample.query.id, fault)


def _of_video(sample: Sample, seen: set[str]) -> Iterator[Problem]:
    """Once per video: frames that differ in size from the first, and files that are in no list. Reads headers only."""
    from PIL import Image

    video, reader = sample.video, sample.video.reader
    if video.id in seen or not isinstance(reader, FolderReader):
        return
    seen.add(video.id)
    for path in reader.paths:
        try:
            with Image.open(path) as picture:
                sides = picture.size[::-1]
        except (OSError, SyntaxError, ValueError) as error:
            yield Problem("frames", video.id, f"{path}: expected a readable picture: {error}")
            continue
        if sides != video.size and sides != video.size[::-1]:  # it may be rotated by its EXIF tag
            (h, w), (height, width) = sides, video.size
            yield Problem("frames", video.id, f"{path}: expected {width}x{height} as the first frame, got {w}x{h}")
    names = [path.stem for path in reader.paths]
    if names != sorted(names):
        yield Problem("frames", video.id, "the listed frames are not sorted")
    read = sample.meta.get("clip_frames", len(names))  # a reader may use only some frames of a clip
    more = len(frame_files(reader.paths[0].parent)) - read
    if more > 0 and "frames" in sample.meta:
        yield Problem("frames", video.id, f"{reader.paths[0].parent}: {more} pictures are not listed and not read")


def _of_masks(sample: Sample) -> Iterator[Problem]:
    """Masks that differ in size from the frames, lie beyond the video's end, or never show the target."""
    truth, video, where = sample.truth, sample.video, sample.query.id
    if truth is None:
        return
    for kind, what in checked.mismatches(truth, video):
        yield Problem(kind, where, what)
    absent = sample.meta.get("no_target") or sample.meta.get("kind") == "absent"
    for number in range(truth.objects):
        if not absent and not truth.select([number]).visible.any():
            yield Problem("empty", where, f"object {number} is empty or null on all {len(truth)} frames")
