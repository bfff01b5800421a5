"""Results files written by hand, for what reads them: any text anywhere, any number of rows."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from revseg.masks import MaskTrack

SIZE, FRAMES = (24, 32), 8
SEEN = [0, 2, 4, 6]


def square(left: int = 4, *, there: Iterable[int] = range(FRAMES), side: int = 8, frames: int = FRAMES) -> MaskTrack:
    """A square from column `left`, row 4 on, on the frames `there`."""
    masks = np.zeros((frames, *SIZE), bool)
    for t in there:
        masks[t, 4 : 4 + side, left : left + side] = True
    return MaskTrack.from_dense(masks)


def made_row(index: int, **changes: Any) -> dict[str, Any]:
    """A perfect row, before `changes`: keyframe 1 (frame 2), a box on the square, masks that are the truth."""
    box = [4 / 32, 4 / 24, 12 / 32, 12 / 24]
    first = {"frame_id": 2, "object_id": None, "description": "a square", "boxes": [], "points": [], "point_labels": []}
    second = {"frame_id": None, "object_id": None, "description": "", "boxes": [box], "points": [], "point_labels": []}
    row: dict[str, Any] = {
        "index": index,
        "failure": None,
        "detail": "",
        "video": {"id": f"video {index}", "size": list(SIZE), "fps": 8.0, "frames": FRAMES},
        "query": {"id": f"query {index}", "text": f"the square number {index}"},
        "status": "found",
        "frame_ids": SEEN,
        "rounds": [made_turn([first], "<think>it is square</think>"), made_turn([second], "box", frames=[2])],
        "error": None,
        "due_rounds": 2,
        "form": 1.0,
        "groundings": [{**first, "frame_id": 2, "object_id": 0, "boxes": [box]}],
        "objects": 1,
        "visible_frames": FRAMES,
        "rewards": made_rewards(format=1.0, temporal=1.0, spatial=1.0),
        "masks": square().to_dict(),
        "truth": square().to_dict(),
        "meta": {"kind": "attribute"},
        "timings": {"track": 0.1},
    }
    return {**row, **changes}


def made_turn(targets: list[Any], reply: str, error: str | None = None, frames: Iterable[int] = SEEN) -> dict[str, Any]:
    """One round as a row holds it."""
    answer = {"targets": targets, "windows": [], "verdict": None, "error": error, "detail": ""}
    answer["form"] = float(error is None)
    return {
        "round": "",
        "prompt": "find it",
        "shown": [{"frame_ids": list(frames), "size": [48, 64]}],
        "reply": reply,
        "answer": answer,
    }


def made_rewards(**values: float) -> dict[str, Any]:
    return {"values": values, "weights": dict.fromkeys(values, 1.0), "total": sum(values.values())}


def placed(row: Mapping[str, Any], frame: int, box: list[float]) -> dict[str, Any]:
    """The row with its keyframe and box elsewhere; masks and rewards stay as they are."""
    target = {
        "frame_id": frame,
        "object_id": None,
        "description": "a square",
        "boxes": [],
        "points": [],
        "point_labels": [],
    }
    place = {**target, "frame_id": None, "boxes": [box]}
    rounds = [made_turn([target], "<think></think>"), made_turn([place], "box", frames=[frame])]
    grounding = {**target, "object_id": 0, "boxes": [box]}
    return {**row, "rounds": rounds, "groundings": [grounding]}


def failed(row: Mapping[str, Any], kind: str = "no_json") -> dict[str, Any]:
    """The row with a first reply that could not be read."""
    failure = f"round 1: {kind}"
    changes = {"failure": failure, "status": "failed", "error": failure, "form": 0.0, "groundings": []}
    changes["rounds"] = [made_turn([], "who knows", kind)]
    nothing = MaskTrack.empty(SIZE, range(FRAMES)).to_dict()
    return {**row, **changes, "masks": nothing, "rewards": made_rewards(format=0.0, temporal=0.0, spatial=0.0)}


def write_results(path: Path, rows: Iterable[Mapping[str, Any]], dataset: Any = "nothing", samples: int = 0) -> Path:
    rows = list(rows)
    header = {"format": "revseg-results", "version": 2, "samples": samples or len(rows), "dataset": dataset}
    header |= {"dataset_length": len(rows), "spec": {"policy": "made by hand"}, "files": {}, "versions": {}}
    path.write_text("".join(json.dumps(item) + "\n" for item in [header, *rows]), "utf-8")
    return path
