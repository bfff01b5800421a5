"""Scoring a run of 2,000 expressions of 60 frames at 480x854: against reading the file, and against the usual script.

    python benchmarks/speed/score_run.py --out benchmarks/results/speed/score_run.json

The usual script (MeViS, Ref-DAVIS and their copies) shares expressions out among processes; each decodes both masks of
a frame and computes J and F the official way. Here its CPU time is taken in one process, on some of the expressions,
and multiplied; more cores divide both sides' wall time alike only where ours is run in as many processes.
"""

import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import davis_official as official
import measure
import numpy as np
from jf import SHAPES, wavy

from revseg.evaluation import Results, score
from revseg.evaluation.results import to_line
from revseg.masks import MaskTrack, coco


def write_run(path: Path, expressions: int, frames: int) -> None:
    """A finished results file: rows as `evaluate` writes them, as far as scoring reads them."""
    tracks = []
    for shape in SHAPES:
        for off in (3.0, 6.0, 9.0):
            truth = np.stack([wavy(t, shape) for t in range(frames)])
            pred = np.stack([wavy(t, shape, off) for t in range(frames)])
            tracks.append([MaskTrack.from_dense(m).to_dict() for m in (pred, truth)])
    with path.open("wb") as file:
        file.write(to_line({"format": "revseg-results", "version": 2, "samples": expressions, "dataset": "speed"}))
        for index in range(expressions):
            masks, truth = tracks[index % len(tracks)]
            height, width = tracks[index % len(tracks)][0]["size"]
            video = {"id": f"v{index // 10}", "size": [height, width], "fps": 24.0, "frames": frames}
            row = {"index": index, "failure": None, "detail": "", "video": video}
            row |= {"query": {"id": str(index), "text": "the thing"}, "masks": masks, "truth": truth, "meta": {}}
            file.write(to_line(row))


def usual(results: Results, expressions: int) -> tuple[float, float]:
    """Mean J and F of the first expressions, frame by frame."""
    values = []
    for row, _ in zip(results, range(expressions), strict=False):
        pred, truth = row.masks, row.truth
        assert pred is not None
        assert truth is not None
        frames = [(coco.decode(truth.rle(0, i)), coco.decode(pred.rle(0, i))) for i in range(len(truth))]
        values.append(np.mean([(official.j(t, p), official.f(t, p)) for t, p in frames], axis=0))
    j, f = np.mean(values, axis=0)
    return float(j), float(f)


def timed(function: Any, *arguments: Any, **options: Any) -> tuple[Any, float]:
    began = time.process_time()
    found = function(*arguments, **options)
    return found, time.process_time() - began


def compare(path: Path, expressions: int, some: int, turns: int) -> dict[str, Any]:
    reads, scores, bases, gaps = [], [], [], []
    for _ in range(turns):
        _, seconds = timed(lambda: sum(row.masks is not None for row in Results.open(path)))
        reads.append(seconds)
        found, seconds = timed(score, Results.open(path), draws=0)
        scores.append(seconds)
        want, seconds = timed(usual, Results.open(path), some)
        bases.append(seconds * expressions / some)
        got = np.mean([(query.values["J"], query.values["F"]) for query in found.queries[:some]], axis=0)
        gaps.append(float(np.abs(got - want).max()))
    return {
        "file_mb": path.stat().st_size / 1e6,
        "reading_s": measure.spread(reads),
        "ours_s": measure.spread(scores),
        "baseline_s": measure.spread(bases),
        "ratio": measure.spread([base / ours for base, ours in zip(bases, scores, strict=True)]),
        "over_reading": measure.spread([ours / read for ours, read in zip(scores, reads, strict=True)]),
        "largest_difference": max(gaps),
        "equal": max(gaps) <= 1e-12,
    }


def main() -> None:
    given = measure.arguments(__doc__).parse_args()
    cv2.setNumThreads(1)
    expressions, frames, some, turns = (9, 6, 9, 1) if given.small else (2000, 60, 9, 2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.jsonl"
        write_run(path, expressions, frames)
        row = compare(path, expressions, some, turns)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    what = f"scoring {expressions} expressions of {frames} frames"
    measure.report([{"what": what, **row, "peak_mb": peak}], given.out)


if __name__ == "__main__":
    main()
