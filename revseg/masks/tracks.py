"""Masks as COCO run-length codes: the one form in which predictions and truth are held, saved and scored.

Areas, boxes, unions and IoUs come from the codes without decoding (pycocotools' C code).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64
from pycocotools import mask as _coco

from revseg.errors import InputError
from revseg.masks.rle import MAX_FRAMES, brief, checked_codes, checked_size

MAX_OBJECTS = 1 << 16  # of one track
coco: Any = _coco  # its type stubs describe neither counts as bytes nor lists of codes


def encode(mask: Bool[np.ndarray, "h w"]) -> bytes:
    """One mask as compressed COCO counts."""
    return coco.encode(np.asfortranarray(mask, np.uint8))["counts"]


def binary(masks: np.ndarray, what: str = "masks") -> Bool[np.ndarray, "..."]:
    """Masks as bool, of bool or of integers 0/1 or 0/255; InputError for logits, probabilities and labels."""
    if masks.dtype == bool:
        return masks
    if masks.dtype.kind not in "iu":
        raise InputError(
            f"expected {what} of bool (or integers 0/1 or 0/255), got {masks.dtype}: threshold first, logits > 0 or "
            "probabilities > 0.5"
        )
    highest = int(masks.max(initial=0))
    if highest not in (0, 1, 255) or not ((masks == 0) | (masks == highest)).all():
        raise InputError(
            f"expected {what} of bool (or integers 0/1 or 0/255), got other values up to {highest}: threshold first, "
            "logits > 0, or choose an object, labels == 3"
        )
    return masks != 0


@dataclass(frozen=True, eq=False)
class MaskTrack:
    """The masks of `o` objects on `t` frames: prediction and truth alike.

    `counts[o][t]` are compressed COCO run-length counts (bytes) of one mask of `size` (height, width).
    `frame_ids[t]` are indices into the source, increasing. `scores[o, t]` in [0, 1] is the tracker's confidence in
    each mask, 1 for truth; a confident empty mask means "absent". `names[o]` are optional descriptions.
    """

    counts: tuple[tuple[bytes, ...], ...]
    size: tuple[int, int]
    frame_ids: Int64[np.ndarray, " t"]
    scores: Float32[np.ndarray, "o t"] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.counts:
            if len(row) != len(self.frame_ids):
                raise InputError(f"expected one mask per frame, got {len(row)} for {len(self.frame_ids)} frames")
        if self.scores.size == 0:
            object.__setattr__(self, "scores", np.ones((self.objects, len(self)), np.float32))
        if self.scores.shape != (self.objects, len(self)):
            raise InputError(f"expected scores of shape {(self.objects, len(self))}, got {self.scores.shape}")

    @staticmethod
    def from_dense(
        masks: np.ndarray, frame_ids: Sequence[int] | np.ndarray | None = None, names: Sequence[str] = ()
    ) -> "MaskTrack":
        """From bool (or 0/1, 0/255) masks [t h w] of one object or [o t h w] of several; ids default to 0..t-1.

        InputError for other values, such as logits, and for another shape.
        """
        masks = np.asarray(masks)
        if masks.ndim == 3:
            masks = masks[None]
        if masks.ndim != 4:
            raise InputError(f"expected masks of shape [t h w] or [o t h w], got {masks.shape}")
        masks = binary(masks)
        ids = np.arange(masks.shape[1]) if frame_ids is None else frame_ids
        counts = tuple(tuple(encode(mask) for mask in track) for track in masks)
        return MaskTrack(counts, masks.shape[2:], np.asarray(ids, np.int64), names=tuple(names))

    @staticmethod
    def empty(size: tuple[int, int], frame_ids: Sequence[int] | np.ndarray, objects: int = 1) -> "MaskTrack":
        """Nothing on any frame: what a failed rollout gives."""
        nothing = encode(np.zeros(size, bool))
        ids = np.asarray(frame_ids, np.int64)
        return MaskTrack(((nothing,) * len(ids),) * objects, size, ids)

    def __len__(self) -> int:
        return len(self.frame_ids)

    def __repr__(self) -> str:
        h, w = self.size
        return f"MaskTrack({self.objects} objects on {len(self)} frames of {w}x{h})"

    @property
    def objects(self) -> int:
        return len(self.counts)

    def rle(self, obj: int, index: int) -> dict[str, Any]:
        """COCO's own dict for one mask: {"size": [h, w], "counts": bytes}."""
        return {"size": list(self.size), "counts": self.counts[obj][index]}

    def dense(self, frame_ids: Sequence[int] | np.ndarray | None = None) -> Bool[np.ndarray, "o t h w"]:
        """Decoded masks of the frames asked for (source indices; all by default)."""
        track = self if frame_ids is None else self.at(frame_ids)
        if not track.objects or not len(track):
            return np.zeros((track.objects, len(track), *self.size), bool)
        rows = [coco.decode([track.rle(o, i) for i in range(len(track))]) for o in range(track.objects)]
        return np.stack([np.moveaxis(row, -1, 0) for row in rows]).astype(bool)

    def union(self) -> "MaskTrack":
        """All objects as one: what referring segmentation scores."""
        if self.objects == 1:
            return self
        if self.objects == 0:
            return MaskTrack.empty(self.size, self.frame_ids)
        rows = [coco.merge([self.rle(o, i) for o in range(self.objects)])["counts"] for i in range(len(self))]
        return MaskTrack((tuple(rows),), self.size, self.frame_ids, self.scores.min(0, keepdims=True))

    def at(self, frame_ids: Sequence[int] | np.ndarray) -> "MaskTrack":
        """The track on the frames with these source indices, in the order asked. InputError for a frame without."""
        where = {int(f): i for i, f in enumerate(self.frame_ids)}
        missing = [int(f) for f in frame_ids if int(f) not in where]
        if missing:
            raise InputError(f"no mask for frames {missing[:5]}; this track has {len(self)} frames")
        rows = [where[int(f)] for f in frame_ids]
        counts = tuple(tuple(track[i] for i in rows) for track in self.counts)
        return MaskTrack(counts, self.size, np.asarray(frame_ids, np.int64), self.scores[:, rows], self.names)

    def row(self, frame_id: int) -> int:
        """Where the frame with this source index lies in the track. InputError for a frame without a mask."""
        place = int(np.searchsorted(self.frame_ids, frame_id))
        if place == len(self) or self.frame_ids[place] != frame_id:
            raise InputError(f"no mask for frame {frame_id}; this track has {len(self)} frames")
        return place

    def select(self, objects: Sequence[int]) -> "MaskTrack":
        """The track of these objects only."""
        names = tuple(self.names[o] for o in objects) if self.names else ()
        return MaskTrack(tuple(self.counts[o] for o in objects), self.size, self.frame_ids, self.scores[objects], names)

    @property
    def areas(self) -> Float64[np.ndarray, " t"]:
        """Pixels of the union on each frame."""
        one = self.union()
        # one at a time: given a list of 256 or more, pycocotools overflows under NumPy 2
        return np.asarray([coco.area(one.rle(0, i)) for i in range(len(one))], np.float64)

    @property
    def visible(self) -> Bool[np.ndarray, " t"]:
        """True on the frames where the union is not empty."""
        return self.areas > 0

    @property
    def boxes(self) -> Float32[np.ndarray, "t 4"]:
        """The union's tight box on each frame, unit xyxy; zeros where nothing is visible."""
        one = self.union()
        if not len(one):
            return np.zeros((0, 4), np.float32)
        x, y, w, h = np.asarray(coco.toBbox([one.rle(0, i) for i in range(len(one))]), np.float64).T
        height, width = self.size
        return np.stack([x / width, y / height, (x + w) / width, (y + h) / height], -1).astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: {"size", "frame_ids", "counts" (text), "scores", "names"}."""
        return {
            "size": list(self.size),
            "frame_ids": self.frame_ids.tolist(),
            "counts": [[c.decode("ascii") for c in track] for track in self.counts],
            "scores": np.round(self.scores.astype(np.float64), 4).tolist(),
            "names": list(self.names),
        }

    @staticmethod
    def from_dict(data: Any, where: str = "masks") -> "MaskTrack":
        """The inverse of `to_dict`, for data from outside: everything in it is checked, the run-length codes too.

        `where` is the file and the place in it, for errors. InputError naming the key that is missing or damaged.
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
                raise InputError(
                    f"{lead}counts[{obj}]: expected a code for each of {len(ids)} frames, got {brief(row)}"
                )
        counts = tuple(tuple(checked_codes(row, size, f"{lead}counts[{obj}]")) for obj, row in enumerate(rows))
        scores = _checked_scores(data.get("scores", []), (len(counts), len(ids)), f"{lead}scores")
        names = data.get("names", ())
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise InputError(f"{lead}names: expected a list of texts, got {brief(names)}")
        return MaskTrack(counts, size, ids, scores, tuple(names))


def _checked_ids(ids: Any, where: str) -> Int64[np.ndarray, " t"]:
    """Indices of frames from outside: whole, increasing, and of a video that there can be."""
    listed = ids if isinstance(ids, list | tuple) else None
    if listed is None or not all(type(i) is int and 0 <= i < MAX_FRAMES for i in listed):
        raise InputError(f"{where}: expected indices of frames from 0 on, got {brief(ids)}")
    found = np.asarray(listed, np.int64)
    if (np.diff(found) <= 0).any():
        raise InputError(f"{where}: expected increasing indices of frames, got {brief(ids)}")
    return found


def _checked_scores(scores: Any, shape: tuple[int, int], where: str) -> Float32[np.ndarray, "o t"]:
    """Confidences from outside; none stand for 1 everywhere."""
    expected = f"{where}: expected {shape[0]} lists of {shape[1]} numbers"
    if scores == [] or scores == ():
        return np.ones(shape, np.float32)
    if not isinstance(scores, list | tuple) or not all(isinstance(row, list | tuple) for row in scores):
        raise InputError(f"{expected}, got {brief(scores)}")
    if not all(type(v) in (int, float) and -1e9 <= v <= 1e9 for row in scores for v in row):  # NaN is not
        raise InputError(f"{expected}, got {brief(scores)}")
    if len(scores) != shape[0] or any(len(row) != shape[1] for row in scores):
        raise InputError(f"{expected}, got lists of {[len(row) for row in scores][:5]}")
    return np.asarray(scores, np.float32).reshape(shape)
