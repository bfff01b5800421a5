"""The data filter into a file: resumable, and shared by the processes of a job.

A video that was judged is never judged again: each row is on its way to the disk before the next video begins, so that
a process killed at any moment loses at most the video that it was at.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from revseg import checked, output
from revseg.datasets.filter_file import FORMAT, VERSION, FilterFile, filter_shards
from revseg.datasets.video_ids import video_ids
from revseg.devices import own_gpu
from revseg.errors import InputError, VideoError
from revseg.evaluation.manifest import files_of
from revseg.evaluation.shard import append, shard
from revseg.job import place_in_job
from revseg.masks.rle import brief
from revseg.progress import tracked
from revseg.registry import build, spec_of
from revseg.serialise import versions
from revseg.training.data_filter import check_threshold, ious_of, mean
from revseg.types import Dataset, Tracker


def filter_to_file(
    dataset: Any,
    tracker: Any,
    out: str | Path,
    *,
    threshold: float = 0.6,
    whole: bool = False,
    progress: bool = False,
) -> FilterFile:
    """Judge every video of a dataset (spec or part) as `filter_videos` does, into the file `out`.

    Called again, it continues. Under torchrun, srun or in a SLURM array each process takes its share of the videos and
    the last one to finish writes the file (`FilterFile.finished`); the number of processes may change in between. A
    video that cannot be read is left out, with its error in the file. InputError when `out` belongs to another dataset,
    tracker, threshold or way of asking, and for a sample without truth.
    """
    check_threshold(threshold)
    path = output.check_file(out, overwrite=True)
    here = place_in_job(arrays=True)
    if here.world > 1:
        own_gpu(here.local)
    data: Dataset = build("dataset", dataset)
    videos = _by_video(data)
    header = _header(dataset, data, len(videos), tracker, threshold, whole)
    known = FilterFile.find(path)
    if known is not None:
        _check_same(known, header)
    done = set() if known is None else {*known.scores, *known.unreadable}
    todo = [video for video in list(videos)[here.rank :: here.world] if video not in done]
    if todo or known is None:  # a process without videos writes a header too, so that there is a file
        part: Tracker = build("tracker", tracker)
        with shard(path, here.rank, header) as file:
            for video in tracked(todo, "filtering", len(todo), show=progress):
                append(file, _row(data, video, videos[video], part, whole))
    return _merged(path, list(videos))


def _by_video(data: Dataset) -> dict[str, list[int]]:
    """The samples of each video, by its id, in the dataset's order."""
    found: dict[str, list[int]] = {}
    for index, video in enumerate(video_ids(data)):
        found.setdefault(video, []).append(index)
    return found


def _row(data: Dataset, video: str, indices: list[int], tracker: Any, whole: bool) -> dict[str, Any]:
    seen: set[tuple[str, int]] = set()
    try:
        samples = [checked.sample(data, data[index], index) for index in indices]
        if all(sample.truth is not None for sample in samples):
            return {"video": video, "score": mean([i for s in samples for i in ious_of(s, seen, tracker, whole)])}
    except (InputError, VideoError) as error:
        return {"video": video, "score": None, "error": f"{type(error).__name__}: {error}"[:500]}
    raise InputError(f"video {video!r} has a query without truth: the filter compares a tracker's masks with it")


def _header(dataset: Any, data: Dataset, videos: int, tracker: Any, threshold: float, whole: bool) -> dict[str, Any]:
    header = {
        "format": FORMAT,
        "version": VERSION,
        "videos": videos,
        "dataset": spec_of(dataset),
        "dataset_length": len(data),
        "tracker": spec_of(tracker),
        "whole": whole,
        "threshold": float(threshold),
        "files": files_of({"tracker": spec_of(tracker)}),  # weights trained again under the same name are others
        "versions": versions(),
    }
    return json.loads(re.sub(r" at 0x[0-9a-fA-F]+", "", json.dumps(header, default=str)))


def _check_same(known: FilterFile, header: Mapping[str, Any]) -> None:
    """InputError unless the scores are of the same filter. Versions may differ: what is judged stays judged."""
    for key, value in header.items():
        if key != "versions" and known.header[key] != value:
            hint = "; `filtered` has an option threshold=, so that no second file is needed" * (key == "threshold")
            raise InputError(
                f"{known.path} is of another filter: its {key} is {brief(known.header[key], 200)}, now "
                f"{brief(value, 200)}; choose another file{hint}"
            )


def _merged(path: Path, videos: list[str]) -> FilterFile:
    """The file written from its shards if every video is judged; any process may do it, with the same content."""
    found = FilterFile.open(path)
    if not found.finished or not filter_shards(path):
        return found
    scores = {video: found.scores[video] for video in videos if video in found.scores}
    unreadable = {video: found.unreadable[video] for video in videos if video in found.unreadable}
    text = json.dumps({**found.header, "scores": scores, "unreadable": unreadable}, indent=1)
    output.write_text(path, text + "\n", overwrite=True)
    for part in filter_shards(path):
        part.unlink(missing_ok=True)
    return FilterFile(path, found.header, scores, unreadable)
