"""A dataset as a parquet file of rows, which verl's loader reads, and a row as a sample again.

A row holds its query, its true masks and where its video is. So the workers need neither the dataset nor its index of
masks, which would be in memory once per process. Videos that are no files, such as those of `shapes`, are named by
their dataset and index.
"""

import functools
import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from revseg import checked
from revseg.errors import InputError, MissingExtraError
from revseg.masks import MaskTrack
from revseg.output import fresh_file
from revseg.registry import build, spec_of
from revseg.types import Dataset, Query, Sample
from revseg.untrusted.reading import well_formed
from revseg.video import Video
from revseg.video.file import FileReader
from revseg.video.folder import FolderReader
from revseg.video.video import WindowReader

AGENT = "revseg"  # the name of the agent loop in agent_loop.yaml
CHUNK = 256  # rows written at a time


def write_rows(dataset: Any, path: str | Path, *, indices: Sequence[int] | None = None, overwrite: bool = False) -> int:
    """Write the samples of a dataset's spec, all or those at `indices`, as parquet; returns their number.

    InputError for a sample without truth, OutputError when `path` exists and `overwrite` is not given,
    MissingExtraError without pyarrow.
    """
    arrow, parquet = _arrow()
    samples: Dataset = build("dataset", dataset)
    chosen = range(len(samples)) if indices is None else indices
    if not chosen:
        raise InputError("the dataset is empty: there are no rows to write")
    with fresh_file(path, overwrite=overwrite) as part:
        writer = None
        try:
            for start in range(0, len(chosen), CHUNK):
                rows = [row_of(samples[i], i, spec_of(dataset)) for i in chosen[start : start + CHUNK]]
                table = arrow.Table.from_pylist(rows)
                writer = writer or parquet.ParquetWriter(part, table.schema)
                writer.write_table(table)
        finally:
            if writer is not None:
                writer.close()
    return len(chosen)


def row_of(sample: Sample, index: int, dataset: Any) -> dict[str, Any]:
    """One row. What revseg needs is in `extra_info`, as text; verl itself only logs the rest.

    `dataset` is the spec of the dataset and `index` the sample's place in it.
    """
    checked.truth(sample.truth, sample.video, sample.query)
    if sample.truth is None:
        raise InputError(f"query {sample.query.id!r} has no truth: training needs masks to reward against")
    video, text = sample.video, well_formed(sample.query.text)
    place = {
        "id": video.id,
        "size": list(video.size),
        "fps": video.fps,
        "length": video.length,
        "reader": reader_to_dict(video.reader) or {"dataset": dataset, "index": int(index)},
    }
    return {
        "data_source": AGENT,
        "agent_name": AGENT,
        "prompt": [{"role": "user", "content": text}],
        "reward_model": {"style": "rule", "ground_truth": ""},
        "extra_info": {
            "index": int(index),
            "query_id": sample.query.id,
            "query": text,
            "video": json.dumps(place),
            "truth": json.dumps(sample.truth.to_dict()),
            "meta": json.dumps(dict(sample.meta), default=str),
        },
    }


def sample_of(row: Mapping[str, Any]) -> Sample:
    """The sample of a row's `extra_info`; its video is opened, not decoded. InputError for a row of another make."""
    missing = [key for key in ("query_id", "query", "video", "truth", "meta") if not isinstance(row.get(key), str)]
    if missing:
        raise InputError(f"expected a row that `revseg rows` wrote, its extra_info lacks {', '.join(missing)} as text")
    place = json.loads(row["video"])
    size, reader = (int(place["size"][0]), int(place["size"][1])), place["reader"]
    if "dataset" in reader:
        video = _built(json.dumps(reader["dataset"]))[int(reader["index"])].video
    else:
        video = Video(place["id"], size, place["fps"], place["length"], reader_from_dict(reader, size))
    truth = MaskTrack.from_dict(json.loads(row["truth"]), f"the truth of {row['query_id']}")
    return Sample(video, Query(row["query_id"], row["query"]), truth, json.loads(row["meta"]))


def reader_to_dict(reader: Any) -> dict[str, Any] | None:
    """What opens a video's reader again; None for one that does not read files. Paths are made absolute."""
    if isinstance(reader, FileReader):
        return {"file": str(Path(reader.path).absolute())}
    if isinstance(reader, FolderReader):
        folder = reader.paths[0].parent
        same = all(path.parent == folder for path in reader.paths)
        names = [path.name if same else str(path.absolute()) for path in reader.paths]
        return {"folder": str(folder.absolute()) if same else "/", "frames": names}
    if isinstance(reader, WindowReader):
        inner = reader_to_dict(reader.reader)
        return None if inner is None else {"window": inner, "first": int(reader.first)}
    return None


def reader_from_dict(data: Mapping[str, Any], size: tuple[int, int]) -> Any:
    """The inverse of `reader_to_dict`. VideoError for a file that is gone or damaged."""
    if "file" in data:
        return Video.open(data["file"]).reader
    if "folder" in data:
        return FolderReader(tuple(Path(data["folder"]) / name for name in data["frames"]), size)
    if "window" in data:
        return WindowReader(reader_from_dict(data["window"], size), int(data["first"]))
    raise InputError(f"expected a video's file, folder or window, got {', '.join(data) or 'nothing'}")


@functools.lru_cache(maxsize=8)
def _built(dataset: str) -> Dataset:
    return build("dataset", json.loads(dataset))


def _arrow() -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingExtraError("rows are written as parquet, by pyarrow: pip install revseg[parquet]") from error
