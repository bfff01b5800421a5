"""Masks as COCO run-length codes: the one form in which predictions and truth are kept, saved and scored.

Areas, boxes, unions and intersections come from the codes without decoding (pycocotools' C code).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from revseg.errors import InputError
from revseg.masks.dense import binary, encode, to_unit
from revseg.masks.rle import coco
from revseg.masks.stored_track import checked_fields


@dataclass(frozen=True, eq=False)
class MaskTrack:
    """The masks of `o` objects on `t` frames, of a prediction or of the truth.

    `counts[o][t]` are compressed COCO run-length counts (bytes) of one mask of `size` (height, width).
    `frame_ids[t]` are indices into the source, increasing. `scores[o, t]` in [0, 1] is the tracker's confidence in
    each mask, 1 for truth; an empty mask with a high score means "absent". `names[o]` are optional descriptions.
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
        """From masks bool (or 0/1, 0/255), [t h w] of one object or [o t h w] of several; ids default to 0..t-1.

        InputError for other values, such as logits, and for other shapes.
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
        """Empty masks on every frame, as a failed rollout gets."""
        empty = encode(np.zeros(size, bool))
        ids = np.asarray(frame_ids, np.int64)
        return MaskTrack(((empty,) * len(ids),) * objects, size, ids)

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
        """Decoded masks of these frames (source indices; all frames by default)."""
        track = self if frame_ids is None else self.at(frame_ids)
        if not track.objects or not len(track):
            return np.zeros((track.objects, len(track), *self.size), bool)
        rows = [coco.decode([track.rle(o, i) for i in range(len(track))]) for o in range(track.objects)]
        return np.stack([np.moveaxis(row, -1, 0) for row in rows]).astype(bool)

    def union(self) -> "MaskTrack":
        """All objects as one, which is what referring segmentation scores. The score is the lowest of the objects'."""
        if self.objects == 1:
            return self
        if self.objects == 0:
            return MaskTrack.empty(self.size, self.frame_ids)
        rows = [coco.merge([self.rle(o, i) for o in range(self.objects)])["counts"] for i in range(len(self))]
        return MaskTrack((tuple(rows),), self.size, self.frame_ids, self.scores.min(0, keepdims=True))

    def at(self, frame_ids: Sequence[int] | np.ndarray) -> "MaskTrack":
        """The track on these frames (source indices), in this order. InputError for a frame without a mask."""
        row_of = {int(f): i for i, f in enumerate(self.frame_ids)}
        missing = [int(f) for f in frame_ids if int(f) not in row_of]
        if missing:
            raise InputError(f"no mask for frames {missing[:5]}; this track has {len(self)} frames")
        rows = [row_of[int(f)] for f in frame_ids]
        counts = tuple(tuple(track[i] for i in rows) for track in self.counts)
        return MaskTrack(counts, self.size, np.asarray(frame_ids, np.int64), self.scores[:, rows], self.names)

    def row(self, frame_id: int) -> int:
        """The position in this track of the frame with this source index. InputError for a frame without a mask."""
        index = int(np.searchsorted(self.frame_ids, frame_id))
        if index == len(self) or self.frame_ids[index] != frame_id:
            raise InputError(f"no mask for frame {frame_id}; this track has {len(self)} frames")
        return index

    def select(self, objects: Sequence[int]) -> "MaskTrack":
        """The track of these objects only."""
        names = tuple(self.names[o] for o in objects) if self.names else ()
        return MaskTrack(tuple(self.counts[o] for o in objects), self.size, self.frame_ids, self.scores[objects], names)

    @property
    def areas(self) -> Float64[np.ndarray, " t"]:
        """Pixels of the union on each frame."""
        one = self.union()
        # one by one, because pycocotools overflows on lists of 256 or more under NumPy 2
        return np.asarray([coco.area(one.rle(0, i)) for i in range(len(one))], np.float64)

    @property
    def visible(self) -> Bool[np.ndarray, " t"]:
        """True on the frames where the union is not empty."""
        return self.areas > 0

    @property
    def pixel_boxes(self) -> Float64[np.ndarray, "t 4"]:
        """The union's tight box on each frame, xyxy in whole pixels, half-open; zeros where nothing is visible."""
        one = self.union()
        if not len(one):
            return np.zeros((0, 4))
        x, y, w, h = np.asarray(coco.toBbox([one.rle(0, i) for i in range(len(one))]), np.float64).T
        return np.stack([x, y, x + w, y + h], -1)

    @property
    def boxes(self) -> Float32[np.ndarray, "t 4"]:
        """The union's tight box on each frame, unit xyxy; zeros where nothing is visible."""
        return to_unit(self.pixel_boxes, self.size) if len(self) else np.zeros((0, 4), np.float32)

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
        """The inverse of `to_dict`, for untrusted data: everything is checked, the run-length codes too.

        `where` names the file and the position in it, for errors. InputError naming the key that is missing or damaged.
        """
        return MaskTrack(*checked_fields(data, where))
