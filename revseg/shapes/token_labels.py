"""What each vision token shows, as class labels: the targets of vision pretraining."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int64

from revseg.grounding.boxes import to_pixels
from revseg.masks import MaskTrack
from revseg.shapes.scene_captions import STEP as PERCENT_STEP

IGNORED = -100  # a label without a loss, as in torch's cross_entropy
PIXEL_STEP = 2  # box corners are rounded to so many pixels, as in demonstrations
LEAST_SHARE = 0.06  # of a token's area; an object that covers less of it does not count


def token_labels(
    track: MaskTrack,
    grid: tuple[int, int, int],
    words: Sequence[Sequence[str]],
    size: tuple[int, int],
    longest: int,
    *,
    still: bool = False,
) -> Int64[np.ndarray, "n k"]:
    """The labels of every token of a grid (times, rows, columns), where one time is a pair of frames.

    A token shows the object that covers most of it. The columns, in order:

    - one per kind of word in `words`: the index of the object's word; the last class stands for no object;
    - 8: the object's box corners on both frames, in steps of `PIXEL_STEP` pixels of a picture of `size` (height,
      width);
    - 6: the centre and the longer side of both boxes, in steps of `PERCENT_STEP` percent of the picture;
    - 3: the token's own first frame (`IGNORED` for a `still`), top edge and left edge, the edges in the same pixel
      steps.

    Where the object is not on a frame, its coordinates there are the class after the largest one (`longest`, the
    longest possible side in pixels, or 100 percent). Without an object they are `IGNORED`.
    """
    times, rows, columns = grid
    frames = np.minimum(np.arange(2 * times), len(track) - 1)  # an odd last frame is paired with itself
    shares = _cell_shares(track, rows, columns)[:, frames].reshape(track.objects, times, 2, rows, columns).mean(2)
    best = shares.argmax(0)
    shown = (shares.max(0) >= LEAST_SHARE)[..., None]
    names = [name.split(" ") for name in track.names]
    classes = np.array([[kind.index(word) for kind, word in zip(words, name, strict=True)] for name in names])
    no_object = np.array([len(kind) for kind in words])
    boxes = np.stack([track.select([o]).boxes for o in range(track.objects)])[:, frames]
    places = _box_classes(boxes, size, longest).reshape(track.objects, times, 2, 7)
    places = np.concatenate([places[..., part].reshape(track.objects, times, -1) for part in (_CORNERS, _CENTRE)], -1)
    labels = [
        np.where(shown, classes[best], no_object),
        np.where(shown, places[best, np.arange(times)[:, None, None]], IGNORED),
        _own_places(grid, size, still=still),
    ]
    return np.concatenate(labels, -1).reshape(times * rows * columns, -1)


_CORNERS, _CENTRE = slice(0, 4), slice(4, 7)  # columns of `_box_classes`


def _box_classes(
    boxes: Float32[np.ndarray, "o t 4"], size: tuple[int, int], longest: int
) -> Int64[np.ndarray, "o t 7"]:
    """Classes of the corners (in pixel steps), the centre and the longer side (in percent steps) of unit boxes."""
    present = (boxes[..., 2:] > boxes[..., :2]).all(-1, keepdims=True)
    corners = np.round(to_pixels(boxes, size) / PIXEL_STEP)
    low, high = boxes[..., :2], boxes[..., 2:]
    centres = np.concatenate([(low + high) / 2, (high - low).max(-1, keepdims=True)], -1)
    centres = np.round(centres * 100 / PERCENT_STEP)
    corners = np.where(present, corners, longest // PIXEL_STEP + 1)
    centres = np.where(present, centres, 100 // PERCENT_STEP + 1)
    return np.concatenate([corners, centres], -1).astype(np.int64)


def _own_places(
    grid: tuple[int, int, int], size: tuple[int, int], *, still: bool
) -> Int64[np.ndarray, "times rows columns 3"]:
    """Each token's first frame, top edge and left edge."""
    times, rows, columns = grid
    own = np.stack(np.meshgrid(np.arange(times), np.arange(rows), np.arange(columns), indexing="ij"), -1)
    own = own * np.array([2, size[0] // rows // PIXEL_STEP, size[1] // columns // PIXEL_STEP])
    if still:
        own[..., 0] = IGNORED
    return own


def _cell_shares(track: MaskTrack, rows: int, columns: int) -> Float32[np.ndarray, "o t rows columns"]:
    """The share of each cell that each object covers."""
    dense = track.dense().astype(np.float32)
    height, width = track.size
    tops, lefts = (np.arange(n) * side // n for n, side in ((rows, height), (columns, width)))
    counts = np.add.reduceat(np.add.reduceat(dense, tops, axis=2), lefts, axis=3)
    return (counts / (height * width / rows / columns)).astype(np.float32)
