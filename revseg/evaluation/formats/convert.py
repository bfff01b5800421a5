"""`export_predictions` writes the masks of a results file for other projects; `import_predictions` reads theirs."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from revseg import output
from revseg.errors import InputError, SpecError
from revseg.evaluation.formats.asked import Asked, Format, Reader, asked_in, asked_of
from revseg.evaluation.formats.coco_video import CocoVideo
from revseg.evaluation.formats.png import DavisFolders, PngFolders
from revseg.evaluation.formats.results_json import ResultsJson
from revseg.evaluation.results import FORMAT, VERSION, Results
from revseg.evaluation.row import to_line
from revseg.evaluation.rows import load, row_of_masks
from revseg.masks import MaskTrack
from revseg.registry import build, spec_of
from revseg.serialise import versions
from revseg.types import Dataset

FORMATS: Mapping[str, Format] = {
    "png": PngFolders("<video>/<expression>/<frame>.png, 0 and 255: VISA, Ref-YouTube-VOS, MeViS, ReVOS", False),
    "palette": PngFolders("<video>/<expression>/<frame>.png, a palette PNG: value k is object k", True),
    "davis": DavisFolders("anno_<0 to 3>/<video>/<frame>.png, a palette PNG of all objects: ReferFormer's Ref-DAVIS17"),
    "results_json": ResultsJson("results.json of Sa2VA and VideoSEG-O3: COCO codes per video and expression"),
    "coco_video": CocoVideo("COCO's JSON for videos (YouTube-VIS), with exp_id and expression in each annotation"),
}


def export_predictions(results: Results | str | Path, format: str, out: str | Path, *, overwrite: bool = False) -> Path:
    """Write the predicted masks of a finished results file in a format of `FORMATS`; a folder or a file, complete.

    A query without a prediction (its sample crashed) is left out. InputError for an unfinished file, for a sample that
    could not be read and for two queries with one name; OutputError when `out` exists (unless `overwrite`).
    """
    found = results if isinstance(results, Results) else Results.open(results)
    layout = _format(format)
    if not found.finished:
        raise InputError(f"{found.path} is not finished: {len(found)} of {found.samples} rows; run it again first")
    fresh = output.fresh_file if layout.suffix else output.fresh_folder
    with fresh(out, overwrite=overwrite) as part:
        layout.write(_predicted(found), part)
    return Path(out)


def import_predictions(
    path: str | Path, format: str, dataset: Any, out: str | Path, *, overwrite: bool = False
) -> Results:
    """A results file of another method's predictions on a dataset, to be scored as any other.

    `dataset` is a spec or a `Dataset`. A query or a frame without a prediction counts as missing, see `score`.
    InputError when not one query has a prediction, and for masks of another size than the video.
    """
    reader, place = _format(format).open(Path(path)), Path(out)
    data: Dataset = build("dataset", dataset)
    output.check_file(place, overwrite=overwrite)
    with output.fresh_file(place, overwrite=overwrite) as part, part.open("xb") as file:
        file.write(to_line(_header(path, format, dataset, data)))
        rows = (_row(data, index, reader) for index in range(len(data)))
        there = 0
        for row in rows:
            there += row["masks"] is not None
            file.write(to_line(row))
        if data and not there:
            asked = _first(data)
            hint = f": expected masks for {asked.video!r}, expression {asked.expression!r}" if asked else ""
            raise InputError(f"{path}: no prediction for any of the {len(data)} queries of the dataset{hint}")
    return Results.open(place)


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise SpecError(f"unknown format {name!r}; known: {', '.join(FORMATS)}")
    return FORMATS[name]


def _predicted(results: Results) -> Iterator[tuple[Asked, MaskTrack]]:
    """The queries with a prediction. InputError for what would be written over or cannot be placed."""
    seen: set[tuple[str, str]] = set()
    for row in results:
        asked, track = asked_in(row), row.masks
        if asked.place in seen:
            raise InputError(f"query {asked.id!r}: a query of the same name was written already; ids have to differ")
        seen.add(asked.place)
        if track is None:
            continue
        if track.size != asked.size or track.frame_ids.max(initial=-1) >= len(asked.frames):
            raise InputError(f"query {asked.id!r}: expected masks of the video's size {asked.size} and on its frames")
        yield asked, track


def _row(data: Dataset, index: int, reader: Reader) -> dict[str, Any]:
    found = load(data, index)
    if isinstance(found, dict):
        return found  # the sample cannot be read
    sample, _ = found
    masks = reader(asked_of(sample))
    if masks is not None and masks.size != sample.video.size:
        (h, w), (height, width) = masks.size, sample.video.size
        raise InputError(
            f"query {sample.query.id!r}: predicted at {w}x{h}, but the video is {width}x{height}; predict at its size"
        )
    return row_of_masks(index, sample, masks)


def _first(data: Dataset) -> Asked | None:
    """The names of the first query whose sample can be read."""
    samples = (load(data, index) for index in range(len(data)))
    readable = (found[0] for found in samples if not isinstance(found, dict))
    return next((asked_of(sample) for sample in readable), None)


def _header(path: str | Path, format: str, dataset: Any, data: Dataset) -> dict[str, Any]:
    counts = {"samples": len(data), "dataset": spec_of(dataset), "dataset_length": len(data)}
    spec = {"policy": f"predictions of {Path(path).name}", "format": format}
    return {"format": FORMAT, "version": VERSION, **counts, "spec": spec, "files": {}, "versions": versions()}
