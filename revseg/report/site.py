"""A static site to browse results: a list to filter, sort and search, and a page a sample. It asks for no network.

It works from a `file://` address, where scripts may not read files but may load other scripts: all data lies in small
scripts, the list's in chunks, each sample's in one of its own that is loaded when it is looked at.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from revseg import output
from revseg.colours import colour, css
from revseg.diagnosis.diagnose import Diagnosis
from revseg.diagnosis.error_attribution import Stages, stages_of
from revseg.diagnosis.signatures import find_signatures
from revseg.errors import InputError, RevsegError, SpecError
from revseg.evaluation.results import Results, Row
from revseg.progress import tracked
from revseg.registry import build
from revseg.report.site_data import FIGURES, line, page
from revseg.report.site_images import Album
from revseg.report.templates import asset, render
from revseg.spec import parse_spec
from revseg.types import Dataset
from revseg.untrusted.trust import check_foreign

CHUNK = 1000  # lines of the list in a file, and samples in a folder
FRAMES = 6
SCRIPTS = ("site.js", "site_list.js", "site_sample.js")
Place = tuple[int | None, int | None]  # a sample's index in run A and in run B


def write_site(
    results: Results | str | Path,
    out: str | Path,
    other: Results | str | Path | None = None,
    *,
    dataset: Any = None,
    root: str | Path | None = None,
    limit: int | None = None,
    frames: int = FRAMES,
    overwrite: bool = False,
    progress: bool = False,
) -> Path:
    """Writes the site to the folder `out` and returns it; open its `index.html`. Whole or not at all.

    `other` is a second run, shown side by side: samples are paired by video and query, those that only one run has
    included. `limit` takes the first samples only. `frames` is the most frames a sample shows (0: none).

    Pictures need the videos: `dataset` (a spec or a `Dataset`, by default the one that the results name) and `root`,
    where it lies now. Without them the pages have outlines of masks and boxes on an empty ground. A results file may
    come from others, so that a dataset it names by a path to code is never built unasked.

    Raises InputError for a file that is no results file and for a dataset that was asked for and cannot be opened,
    OutputError as `revseg.output.fresh_folder` does.
    """
    runs = [_opened(results), *([] if other is None else [_opened(other)])]
    if frames < 0 or (limit is not None and limit < 0):
        raise InputError(f"expected frames and limit of 0 or more, got {frames} and {limit}")
    output.check_folder(out, overwrite=overwrite)
    data, why = (None, "none were asked for") if not frames else find_data(runs[0], dataset, root)
    places = _paired(runs)[:limit]
    with output.fresh_folder(out, overwrite=overwrite) as folder:
        album = Album(folder / "pictures", data, frames)
        names = _reward_names(runs, places)
        held: list[list[tuple[int, Stages]]] = [[] for _ in runs]
        lines: list[Any] = []
        entries = tracked(_rows(runs, places), "writing the pages", len(places), show=progress)
        for number, rows in enumerate(entries):
            stages = [None if row is None else stages_of(row) for row in rows]
            for run, found in zip(held, stages, strict=True):
                run += [] if found is None else [(number, found)]
            lines.append(line(number, stages, names))
            _write_page(folder, number, rows, stages, album)
            if len(lines) == CHUNK or number + 1 == len(places):
                _write(folder / f"data/{number // CHUNK:04d}.js", f"revseg.lines({_js(lines)});\n")
                lines = []
        meta = _meta(runs, held, len(places), names, why)
        _write(folder / "data/meta.js", f"revseg.start({_js(meta)});\n")
        _write_frame(folder)
    return Path(out)


def find_data(results: Results, dataset: Any, root: str | Path | None) -> tuple[Dataset | None, str]:
    """The dataset to take pictures from; None and why when nobody asked for one and the named one cannot be opened."""
    asked = dataset is not None or root is not None
    spec = results.header.get("dataset") if dataset is None else dataset
    try:
        name, options = _parts(spec)
    except SpecError:
        if asked:
            raise
        return None, f"the results name the dataset {str(spec)[:80]!r}, which is no spec: name it with --dataset"
    if not name:
        if asked:
            raise InputError(f"the results name the dataset {spec!r:.80}: name the one at {root} with --dataset")
        return None, f"the results name the dataset {str(spec)[:80]!r}, which is no spec: name it with --dataset"
    if dataset is None:
        try:
            check_foreign("dataset", spec, "the results", "name the dataset with --dataset")
        except SpecError as error:
            if asked:
                raise
            return None, str(error)
    if root is not None:
        spec = {**options, "name": name, "root": str(root)}
    try:
        return build("dataset", spec), ""
    except Exception as error:  # options of a damaged file may be of any kind
        if asked and isinstance(error, RevsegError | OSError):
            raise
        if asked:
            raise InputError(f"the dataset {str(spec)[:80]!r} cannot be opened: {error!r}"[:400]) from error
        return None, f"the dataset cannot be opened ({str(error)[:200]}): say where it lies with --root"


def _parts(spec: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(spec, Mapping):
        return str(spec.get("name", "")), {str(k): v for k, v in spec.items() if k != "name"}
    return parse_spec(spec) if isinstance(spec, str) and spec else ("", {})


def _opened(results: Results | str | Path) -> Results:
    return results if isinstance(results, Results) else Results.open(results)


def _paired(runs: Sequence[Results]) -> list[Place]:
    """Run A's samples in order, each with B's of the same video and query, then those of B alone."""
    if len(runs) == 1:
        return [(index, None) for index in runs[0].places]
    keys = [_keys(run) for run in runs]
    of_b = {key: index for index, key in keys[1].items()}
    pairs: list[Place] = [(index, of_b.pop(key, None)) for index, key in keys[0].items()]
    return pairs + [(None, index) for index in sorted(of_b.values())]


def _keys(run: Results) -> dict[int, tuple[Any, ...]]:
    """What a sample is known by: video and query, numbered where they repeat; its index where it was never loaded."""
    times: dict[tuple[Any, ...], int] = {}
    keys: dict[int, tuple[Any, ...]] = {}
    for row in run:
        key = (row.video, row.query) if row.query is not None else (None, row.index)
        times[key] = times.get(key, 0) + 1
        keys[row.index] = (*key, times[key])
    return keys


def _rows(runs: Sequence[Results], places: Sequence[Place]) -> Iterator[list[Row | None]]:
    for place in places:
        pairs = zip(runs, place, strict=False)
        yield [None if index is None else run.row(index) for run, index in pairs]


def _reward_names(runs: Sequence[Results], places: Sequence[Place]) -> list[str]:
    """The rewards of the first rows that have any, in the order of the runs."""
    names: dict[str, None] = {}
    for number, run in enumerate(runs):
        for place in places:
            index = place[number]
            rewards = None if index is None else run.row(index).data.get("rewards")
            if rewards:
                names |= dict.fromkeys(rewards["values"])
                break
    return list(names)


def _write_page(
    folder: Path, number: int, rows: Sequence[Row | None], stages: Sequence[Stages | None], album: Album
) -> None:
    index = next(row.index for row in rows if row is not None)
    frames, pictures, note = album.show(index, rows)
    both = [None if r is None or s is None else (r, s) for r, s in zip(rows, stages, strict=True)]
    shades = [css(shade) for shade in album.colours(pictures, frames, rows)]
    text = f"revseg.sample({number}, {_js(page(both, frames, pictures, note, shades))});\n"
    _write(folder / f"samples/{number // CHUNK:04d}/{number:06d}.js", text)


def _meta(
    runs: Sequence[Results], held: Sequence[Sequence[tuple[int, Stages]]], total: int, names: Sequence[str], why: str
) -> dict[str, Any]:
    return {
        "total": total,
        "chunk": CHUNK,
        "figures": [*FIGURES, *(f"reward: {name}" for name in names)],
        "colours": [css(colour(i)) for i in range(24)],
        "pictures": why,
        "runs": [_about(run, found) for run, found in zip(runs, held, strict=True)],
    }


def _about(run: Results, held: Sequence[tuple[int, Stages]]) -> dict[str, Any]:
    numbers = {stages.index: number for number, stages in held}
    signatures = find_signatures([stages for _, stages in held])
    diagnosis = Diagnosis(run.path, "results", len(held), tuple(signatures), {}).to_dict()
    keep = ("spec", "dataset", "versions")
    return {
        "name": run.path.name,
        "dataset": json.dumps(run.header.get("dataset"), ensure_ascii=False),
        "rows": len(held),
        "of": run.samples,
        "spec": json.dumps({k: run.header.get(k) for k in keep}, indent=2, ensure_ascii=False),
        "signatures": [
            {
                "name": s["name"],
                "found": s["found"],
                "rule": s["rule"],
                "look": s["look"],
                "evidence": list(s["evidence"].items()),
                "rows": [[numbers[index], index] for index in s["rows"][:50]],
                "count": len(s["rows"]),
            }
            for s in diagnosis["signatures"]
        ],
    }


def _write_frame(folder: Path) -> None:
    _write(folder / "index.html", render("index.html", scripts=[*SCRIPTS, "data/meta.js"]))
    for name in SCRIPTS:
        _write(folder / name, asset(name))
    _write(folder / "style.css", "\n".join(asset(name) for name in ("style.css", "site.css")))


def _js(value: Any) -> str:
    """JSON that is safe in a script, and in HTML should it ever be pasted into some: ASCII, without a "<"."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8", newline="\n")
