"""The JSON of a site: per sample, a row of the list and the content of its own page.

Names that come from data are values, never keys: a key such as "__proto__" means something to a browser.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from revseg.diagnosis.error_attribution import Stages, keyframes_of
from revseg.evaluation.results import Row
from revseg.masks import MaskTrack
from revseg.report.conversation import split_thinking
from revseg.report.svg_outlines import outline

FIGURES = ("J", "reward", "form", "keyframe", "box IoU")  # of a row, before the single rewards
POINTS = 100  # most points of a line in a chart


def list_row(number: int, runs: Sequence[Stages | None], rewards: Sequence[str]) -> list[Any]:
    """[number, index, video, query, text, type], then per run [what went wrong first, figures], or null."""
    first = next(stages for stages in runs if stages is not None)
    per_run = [None if stages is None else [stages.kind, _figures(stages, rewards)] for stages in runs]
    return [number, first.index, first.video, first.query, first.text, first.group, *per_run]


def sample_page(
    runs: Sequence[tuple[Row, Stages] | None],
    frames: Sequence[int],
    pictures: Sequence[str],
    note: str,
    colours: Sequence[str] = (),
) -> dict[str, Any]:
    """The content of a sample's own page. `frames` are the frames shown, `pictures` their addresses or "", `colours`
    those of the objects."""
    row = next(run[0] for run in runs if run is not None)
    truth, seen = row.truth, row.data.get("frame_ids") or []
    video = row.data.get("video") or {"size": [1, 1], "fps": 0, "frames": 0}
    return {
        "size": list(video["size"]),
        "fps": video["fps"],
        "length": video["frames"],
        "frames": list(frames),
        "pictures": list(pictures),
        "note": note,
        "colours": list(colours),
        "seen": list(seen),
        "truth": None if truth is None else [outlines[0] for outlines in _outlines(truth.union(), frames)],
        "truth_areas": _areas(truth),
        "runs": [None if run is None else _run(*run, frames) for run in runs],
    }


def _figures(stages: Stages, rewards: Sequence[str]) -> list[float | None]:
    values = [stages.j, stages.total, stages.form, stages.keyframe, stages.box]
    return [_rounded(value) for value in [*values, *((stages.rewards or {}).get(name) for name in rewards)]]


def _run(row: Row, stages: Stages, frames: Sequence[int]) -> dict[str, Any]:
    data, masks = row.data, row.masks
    rewards = data.get("rewards") or {"values": {}, "weights": {}}
    return {
        "kind": stages.kind,
        "status": data.get("status"),
        "detail": data.get("detail", ""),
        "j": _rounded(stages.j),
        "lost": _rounded(stages.lost),
        "total": _rounded(stages.total),
        "rewards": [[name, _rounded(v), rewards["weights"].get(name)] for name, v in rewards["values"].items()],
        "planned": data.get("due_rounds") or 0,
        "rounds": [_round(turn) for turn in data.get("rounds") or []],
        "keyframes": keyframes_of(row),
        "marks": [_marks(grounding) for grounding in data.get("groundings") or []],
        "masks": None if masks is None else _outlines(masks, frames),
        "whole": None if masks is None or masks.objects < 2 else [o[0] for o in _outlines(masks.union(), frames)],
        "areas": _areas(masks),
        "visible": None if masks is None else int(masks.visible.sum()),
        "timings": [[name, seconds] for name, seconds in (data.get("timings") or {}).items()],
    }


def _round(turn: Mapping[str, Any]) -> dict[str, Any]:
    answer = turn["answer"]
    return {
        "prompt": turn["prompt"],
        "shown": [[len(clip["frame_ids"]), *clip["size"]] for clip in turn["shown"]],
        "thinking": split_thinking(turn["reply"])[0],
        "reply": turn["reply"],
        "error": answer["error"],
        "detail": answer["detail"],
        "form": answer["form"],
        "targets": [
            {name: target[name] for name in ("frame_id", "description", "boxes", "points")}
            for target in answer["targets"]
        ],
    }


def _marks(grounding: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "frame": grounding["frame_id"],
        "object": grounding["object_id"],
        "boxes": grounding["boxes"],
        "points": grounding["points"],
        "labels": grounding["point_labels"],
    }


def _outlines(track: MaskTrack, frames: Iterable[int]) -> list[list[str | None]]:
    """Per frame, the outline of each object; None for frames that the track does not have."""
    known = set(track.frame_ids.tolist())
    outlines: list[list[str | None]] = []
    for frame in frames:
        masks = track.dense([frame])[:, 0] if frame in known else None
        outlines.append([None] * max(track.objects, 1) if masks is None else [outline(mask) for mask in masks])
    return outlines


def _areas(track: MaskTrack | None) -> list[list[float]] | None:
    """(frame id, share of the frame) over time, at most `POINTS` of them."""
    if track is None or not len(track):
        return None
    places = np.unique(np.linspace(0, len(track) - 1, min(POINTS, len(track))).round().astype(int))
    part = track.at(track.frame_ids[places])
    share = part.areas / float(np.prod(track.size))
    return [[int(frame), round(float(value), 5)] for frame, value in zip(part.frame_ids, share, strict=True)]


def _rounded(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), 4)
