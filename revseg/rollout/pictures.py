"""The pictures of prompts: clips and keyframes at the size that the policy sees, with marks drawn where asked."""

from collections.abc import Sequence

import numpy as np

from revseg.errors import SpecError
from revseg.types import MAX_SIDE, Boxes, Clip, Rollout, Target


def resize(clip: Clip, size: int | Sequence[int]) -> Clip:
    """The clip resized (bicubic) to a square, or to (height, width); the same object if it has that size."""
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2 or not all(isinstance(side, int) and 1 <= side <= MAX_SIDE for side in sides):
        raise SpecError(f"size={size!r:.80}: expected a side in pixels, 1 to {MAX_SIDE}, or [height, width]")
    height, width = sides
    if clip.size == (height, width):
        return clip
    from PIL import Image

    frames = [Image.fromarray(f).resize((width, height), Image.Resampling.BICUBIC) for f in clip.frames]
    return Clip(np.stack([np.asarray(f) for f in frames]), clip.frame_ids)


def ruled(clip: Clip, tile: int) -> Clip:
    """The clip with coordinates drawn into its pixels: the top row of each tile encodes time, its left column position.

    `tile` is the side of a tile in pixels, best the side of the policy's patches; 0 draws nothing. Rotary embeddings
    encode relative positions; a small policy hardly learns absolute ones from its little data, so they are given as
    input, as in CoordConv (arXiv 1807.03247). Time is counted in sixteenths of the clip, or in frames where there are
    fewer than 16.
    """
    if tile < 0:
        raise SpecError(f"ruler={tile}: expected the side of a tile in pixels, or 0 for none")
    if not tile:
        return clip
    frames, (height, width) = clip.frames.copy(), clip.size
    turn = np.arange(len(clip)) / max(len(clip), 16)
    times = np.stack([turn, 0.5 + 0.5 * np.sin(2 * np.pi * turn), 0.5 + 0.5 * np.cos(2 * np.pi * turn)], -1)
    places = np.zeros((height, len(range(0, width, tile)), 3))
    places[..., 0] = np.arange(places.shape[1]) * tile / width
    places[..., 1] = (np.arange(height) // tile * tile / height)[:, None]
    frames[:, :, ::tile] = np.round(255 * places)
    frames[:, ::tile] = np.round(255 * times)[:, None, None]
    return Clip(frames, clip.frame_ids)


def keyframes_with_boxes(rollout: Rollout, size: int | Sequence[int]) -> list[Clip]:
    """The keyframes with the boxes of the targets drawn on them; the line is at least two pixels wide."""
    drawn = []
    for picture in keyframe_pictures(rollout, rollout.asked, size):
        boxes = [box for t in rollout.asked if t.frame_id == int(picture.frame_ids[0]) for box in t.boxes]
        frame = outlined(picture.frames[0], np.array(boxes, np.float32).reshape(-1, 4))
        drawn.append(Clip(frame[None], picture.frame_ids))
    return drawn


def outlined(frame: np.ndarray, boxes: Boxes) -> np.ndarray:
    """uint8[h w 3] with the edges of unit boxes drawn on it: red inside white, visible on any background."""
    from PIL import Image, ImageDraw

    picture = Image.fromarray(frame)
    pen, (height, width) = ImageDraw.Draw(picture), frame.shape[:2]
    line = max(1, round(min(height, width) / 200))
    for x1, y1, x2, y2 in boxes.tolist():
        edges = [x1 * width, y1 * height, max(x2 * width - 1, x1 * width), max(y2 * height - 1, y1 * height)]
        pen.rectangle([edges[0] - line, edges[1] - line, edges[2] + line, edges[3] + line], outline="white", width=line)
        pen.rectangle(edges, outline=(255, 0, 0), width=line)
    return np.asarray(picture)


def keyframe_pictures(rollout: Rollout, targets: Sequence[Target], size: int | Sequence[int]) -> list[Clip]:
    """One picture per keyframe, in the order of the targets, resized from the full size of the source."""
    keyframes = list(dict.fromkeys(t.frame_id for t in targets if t.frame_id is not None))
    if not keyframes:
        raise SpecError("this prompt shows a keyframe; it can only follow a round that chose one")
    return [resize(rollout.picture(frame_id), size) for frame_id in keyframes]
