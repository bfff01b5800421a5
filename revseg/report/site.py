"""A static site to browse results: a list to filter, sort and search, and a page per sample. It needs no network.

It works from a `file://` address, where scripts may not read files but may load other scripts. So all data lies in
small scripts: the list's in chunks, each sample's in one of its own, loaded when the sample is opened.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from revseg import output
from revseg.colours import colour, css
from revseg.diagnosis.diagnose import Diagnosis
from revseg.diagnosis.error_attribution import Stages, stages_of
from revseg.diagnosis.signatures import find_signatures
from revseg.errors import InputError
from revseg.evaluation.results import Results, Row
from revseg.progress import tracked
from revseg.report.site_data import FIGURES, list_row, sample_page
from revseg.report.site_images import SiteImages, find_dataset
from revseg.report.templates import asset, render

CHUNK = 1000  # rows of the list per file, and samples per folder
FRAMES = 6
SCRIPTS = ("site.js", "site_list.js", "site_sample.js")
Place = tuple[int | None, int | None]  # a sample's index in run A and in run B
Numbered = list[tuple[int, Stages]]  # a run's rows with their numbers on the site


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
    """Writes the site to the folder `out`, whole or not at all, and returns it; open its `index.html`.

    `other` is a second run, shown side by side. Samples are paired by video and query; those that only one run has are
    shown too. `limit`: only the first samples. `frames`: the most frames shown per sample (0: none).

    Pictures need the videos: `dataset` (a spec or a `Dataset`; by default the one that the results name) and `root`,
    the folder where it lies now. Without them, outlines and boxes are drawn on an empty ground. A results file may
    come from others: a dataset that it names by a path to code is not built unless you pass it as `dataset`.

    Raises InputError for a file that is no results file, and for a `dataset` or `root` that cannot be opened;
    OutputError as `revseg.output.fresh_folder` does.
    """
    runs = [_opened(results), *([] if other is None else [_opened(other)])]
    if frames < 0 or (limit is not None and limit < 0):
        raise InputError(f"expected frames and limit of 0 or more, got {frames} and {limit}")
    output.check_folder(out, overwrite=overwrite)
    data, why = find_dataset(runs[0], dataset, root) if frames else (None, "none were asked for")
    places = _paired(runs)[:limit]
    names = _reward_names(runs, places)
    with output.fresh_folder(out, overwrite=overwrite) as folder:
        images = SiteImages(folder / "pictures", data, frames)
        numbered: list[Numbered] = [[] for _ in runs]
        chunk: list[Any] = []
        samples = tracked(_rows(runs, places), "writing the pages", len(places), show=progress)
        for number, rows in enumerate(samples):
            stages = [None if row is None else stages_of(row) for row in rows]
            for of_run, one in zip(numbered, stages, strict=True):
                of_run += [] if one is None else [(number, one)]
            chunk.append(list_row(number, stages, names))
            _write_sample(folder, number, rows, stages, images)
            if len(chunk) == CHUNK or number + 1 == len(places):
                _write(folder / f"data/{number // CHUNK:04d}.js", f"revseg.lines({_js(chunk)});\n")
                chunk = []
        meta = _meta(runs, numbered, len(places), names, why)
        _write(folder / "data/meta.js", f"revseg.start({_js(meta)});\n")
        _write_assets(folder)
    return Path(out)


def _opened(results: Results | str | Path) -> Results:
    return results if isinstance(results, Results) else Results.open(results)


def _paired(runs: Sequence[Results]) -> list[Place]:
    """Run A's samples in order, each with B's of the same video and query; then B's samples that A does not have."""
    if len(runs) == 1:
        return [(index, None) for index in runs[0].places]
    keys = [_keys(run) for run in runs]
    of_b = {key: index for index, key in keys[1].items()}
    pairs: list[Place] = [(index, of_b.pop(key, None)) for index, key in keys[0].items()]
    return pairs + [(None, index) for index in sorted(of_b.values())]


def _keys(run: Results) -> dict[int, tuple[Any, ...]]:
    """Per sample index: video and query, with a count where they repeat; the index itself if it was never loaded."""
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
    """The rewards of each run's first row that has any, in the order of the runs."""
    names: dict[str, None] = {}
    for number, run in enumerate(runs):
        for place in places:
            index = place[number]
            rewards = None if index is None else run.row(index).data.get("rewards")
            if rewards:
                names |= dict.fromkeys(rewards["values"])
                break
    return list(names)


def _write_sample(
    folder: Path, number: int, rows: Sequence[Row | None], stages: Sequence[Stages | None], images: SiteImages
) -> None:
    index = next(row.index for row in rows if row is not None)
    frames, pictures, note = images.write(index, rows)
    both = [None if r is None or s is None else (r, s) for r, s in zip(rows, stages, strict=True)]
    colours = [css(rgb) for rgb in images.colours(pictures, frames, rows)]
    text = f"revseg.sample({number}, {_js(sample_page(both, frames, pictures, note, colours))});\n"
    _write(folder / f"samples/{number // CHUNK:04d}/{number:06d}.js", text)


def _meta(
    runs: Sequence[Results], numbered: Sequence[Numbered], total: int, names: Sequence[str], why: str
) -> dict[str, Any]:
    return {
        "total": total,
        "chunk": CHUNK,
        "figures": [*FIGURES, *(f"reward: {name}" for name in names)],
        "colours": [css(colour(i)) for i in range(24)],
        "pictures": why,
        "runs": [_run_meta(run, of_run) for run, of_run in zip(runs, numbered, strict=True)],
    }


def _run_meta(run: Results, numbered: Numbered) -> dict[str, Any]:
    numbers = {stages.index: number for number, stages in numbered}
    signatures = find_signatures([stages for _, stages in numbered])
    diagnosis = Diagnosis(run.path, "results", len(numbered), tuple(signatures), {}).to_dict()
    keep = ("spec", "dataset", "versions")
    return {
        "name": run.path.name,
        "dataset": json.dumps(run.header.get("dataset"), ensure_ascii=False),
        "rows": len(numbered),
        "of": run.samples,
        "spec": json.dumps({k: run.header.get(k) for k in keep}, indent=2, ensure_ascii=False),
        "signatures": [
            {
                "name": s["kind"],
                "look": s["advice"],
                **{key: s[key] for key in ("found", "rule")},
                "evidence": list(s["evidence"].items()),
                "rows": [[numbers[index], index] for index in s["rows"][:50]],
                "count": len(s["rows"]),
            }
            for s in diagnosis["signatures"]
        ],
    }


def _write_assets(folder: Path) -> None:
    _write(folder / "index.html", render("index.html", scripts=[*SCRIPTS, "data/meta.js"]))
    for name in SCRIPTS:
        _write(folder / name, asset(name))
    _write(folder / "style.css", "\n".join(asset(name) for name in ("style.css", "site.css")))


def _js(value: Any) -> str:
    """JSON as ASCII without a "<", so that it cannot end a script element wherever it is pasted."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8", newline="\n")
