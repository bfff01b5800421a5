"""The fields of a mask track in a file from outside, each checked before a `MaskTrack` is made of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from revseg.errors import InputError
from revseg.masks.rle import MAX_FRAMES, brief, checked_codes, checked_size

MAX_OBJECTS = 1 << 16  # of one track

Fields = tuple[
    tuple[tuple[bytes, ...], ...],
    tuple[int, int],
    Int64[np.ndarray, " t"],
    Float32[np.ndarray, "o t"],
    tuple[str, ...],
]


def checked_fields(data: Any, where: str) -> Fields:
    """(counts, size, frame_ids, scores, names) of what `MaskTrack.to_dict` wrote.

    InputError naming `where` (the file and the position in it) and the key that is missing or damaged.
    """
    lead = f"{where}: not a mask track: "
    if not isinstance(data, Mapping) or not all(key in data for key in ("size", "frame_ids", "counts")):
        raise InputError(f"{lead}expected the keys size, frame_ids, counts; got {brief(data)}")
    size = checked_size(data["size"], f"{lead}size")
    ids = _checked_ids(data["frame_ids"], f"{lead}frame_ids")
    rows = data["counts"]
    if not isinstance(rows, list | tuple) or len(rows) > MAX_OBJECTS:
        raise InputError(f"{lead}counts: expected a list of codes for each object, got {brief(rows)}")
    for obj, row in enumerate(rows):
        if not isinstance(row, list | tuple) or len(row) != len(ids):
            raise InputError(f"{lead}counts[{obj}]: expected a code for each of {len(ids)} frames, got {brief(row)}")
    counts = tuple(tuple(checked_codes(row, size, f"{lead}counts[{obj}]")) for obj, row in enumerate(rows))
    scores = _checked_scores(data.get("scores", []), (len(counts), len(ids)), f"{lead}scores")
    names = data.get("names", ())
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{lead}names: expected a list of texts, got {brief(names)}")
    return counts, size, ids, scores, tuple(names)


def _checked_ids(ids: Any, where: str) -> Int64[np.ndarray, " t"]:
    """Indices of frames: whole numbers, increasing, below `MAX_FRAMES`."""
    listed = ids if isinstance(ids, list | tuple) else None
    if listed is None or not all(type(i) is int and 0 <= i < MAX_FRAMES for i in listed):
        raise InputError(f"{where}: expected indices of frames from 0 on, got {brief(ids)}")
    array = np.asarray(listed, np.int64)
    if (np.diff(array) <= 0).any():
        raise InputError(f"{where}: expected increasing indices of frames, got {brief(ids)}")
    return array


def _checked_scores(scores: Any, shape: tuple[int, int], where: str) -> Float32[np.ndarray, "o t"]:
    """Confidences [o t]; an empty list stands for 1 everywhere."""
    expected = f"{where}: expected {shape[0]} lists of {shape[1]} numbers"
    if scores == [] or scores == ():
        return np.ones(shape, np.float32)
    if not isinstance(scores, list | tuple) or not all(isinstance(row, list | tuple) for row in scores):
        raise InputError(f"{expected}, got {brief(scores)}")
    if not all(type(v) in (int, float) and -1e9 <= v <= 1e9 for row in scores for v in row):  # false for NaN
        raise InputError(f"{expected}, got {brief(scores)}")
    if len(scores) != shape[0] or any(len(row) != shape[1] for row in scores):
        raise InputError(f"{expected}, got lists of {[len(row) for row in scores][:5]}")
    return np.asarray(scores, np.float32).reshape(shape)
