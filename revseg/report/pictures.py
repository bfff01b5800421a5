"""Pictures as the reasoning page shows them: JPEG data URIs, and the numbers of what is drawn over them as SVG."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64, UInt8

from revseg import drawing
from revseg.colours import RGB, choose_colours
from revseg.types import Segmentation, Target
from revseg.video import Video

COLOUR_FRAMES = 8  # colours are chosen against this many frames of the video, and as many of those with a mask


@dataclass(frozen=True)
class Marks:
    """The boxes and points of one target, in percent of the picture's width and height."""

    colour: str  # CSS
    boxes: tuple[tuple[float, float, float, float], ...]  # x, y, width, height
    points: tuple[tuple[float, float, bool], ...]  # x, y, whether it is on the target

    @staticmethod
    def of(target: Target, colour: str) -> "Marks":
        boxes = tuple((x1, y1, x2 - x1, y2 - y1) for x1, y1, x2, y2 in (target.boxes.astype(float) * 100).tolist())
        points = zip((target.points.astype(float) * 100).tolist(), target.point_labels.tolist(), strict=True)
        return Marks(colour, boxes, tuple((x, y, positive) for (x, y), positive in points))


@dataclass(frozen=True)
class Figure:
    """A picture with its caption, as the templates draw it."""

    src: str  # a data URI
    alt: str
    caption: str
    colour: str | None = None  # CSS; of the frame around a chosen picture
    marks: tuple[Marks, ...] = ()


def scene_colours(result: Segmentation, video: Video) -> list[RGB]:
    """A colour for each object (and target), chosen against frames spread over the video; the same each time."""
    masks, groundings = result.masks, result.rollout.groundings
    count = max(masks.objects, len(result.rollout.chosen), 1)
    if not groundings or not masks.visible.any():
        return choose_colours([], [], count)
    visible = np.flatnonzero(masks.visible)
    rows = [spread(len(masks), COLOUR_FRAMES), visible[spread(len(visible), COLOUR_FRAMES)]]
    ids = masks.frame_ids[np.unique(np.concatenate(rows))]
    return choose_colours(video.read(ids), masks.dense(ids).swapaxes(0, 1), count)


def spread(count: int, most: int) -> Int64[np.ndarray, " n"]:
    """At most `most` of the numbers 0..count-1, evenly spread, both ends among them."""
    return np.linspace(0, count - 1, min(most, count)).round().astype(np.int64)


def data_uri(frame: UInt8[np.ndarray, "h w 3"], width: int = 640) -> str:
    """The frame as a JPEG (see `jpeg`) in a data URI."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(frame, width)).decode("ascii")


def jpeg(frame: UInt8[np.ndarray, "h w 3"], width: int, quality: int = 85) -> bytes:
    """An RGB frame as a JPEG no wider than `width`; small frames are enlarged evenly so that their edges stay crisp."""
    from PIL import Image

    picture = Image.fromarray(frame)
    w, h = picture.size
    if w > width:
        picture = picture.resize((width, max(1, round(h * width / w))), Image.Resampling.LANCZOS)
    elif w * 2 <= width:
        scale = width // w
        picture = picture.resize((w * scale, h * scale), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality, subsampling=0, optimize=True)
    return stream.getvalue()


def paint(
    frame: UInt8[np.ndarray, "h w 3"],
    masks: Bool[np.ndarray, "o h w"],
    colours: Sequence[RGB],
    least: int = 400,
    context: Bool[np.ndarray, "c h w"] | None = None,
) -> UInt8[np.ndarray, "H W 3"]:
    """The frame with its masks drawn on it, enlarged first when narrower than `least` so that outlines stay thin."""
    import cv2

    scale = max(1, round(least / frame.shape[1]))
    size = (frame.shape[1] * scale, frame.shape[0] * scale)
    if scale == 1:
        return drawing.overlay(frame, masks, colours=colours, context=context)
    base = np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC))

    def enlarged(some: np.ndarray) -> np.ndarray:
        large = [cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0 for mask in some]
        return np.stack(large) if large else np.zeros((0, *base.shape[:2]), bool)

    others = None if context is None else enlarged(context)
    return drawing.overlay(base, enlarged(masks), colours=colours, context=others)
