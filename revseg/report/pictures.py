"""Pictures and small charts as text that fits inside one HTML file: data URIs and inline SVG."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8

from revseg import drawing
from revseg.colours import RGB, choose_colours, css
from revseg.types import Segmentation
from revseg.video import Video

LOOKED_AT = 8  # frames that colours are chosen against, and as many of those with a mask


def scene_colours(result: Segmentation, video: Video) -> list[RGB]:
    """A colour for each object (and target), chosen against frames spread over the video; the same each time."""
    masks, groundings = result.masks, result.rollout.groundings
    count = max(masks.objects, len(result.rollout.chosen), 1)
    if not groundings or not masks.visible.any():
        return choose_colours([], [], count)
    shown = np.flatnonzero(masks.visible)
    rows = np.unique(np.concatenate([_spread(len(masks), LOOKED_AT), shown[_spread(len(shown), LOOKED_AT)]]))
    ids = masks.frame_ids[rows]
    return choose_colours(video.read(ids), masks.dense(ids).swapaxes(0, 1), count)


def _spread(count: int, most: int) -> np.ndarray:
    """int64[n]: at most `most` places of 0..count-1, evenly spread, both ends among them."""
    return np.linspace(0, count - 1, min(most, count)).round().astype(np.int64)


def data_uri(frame: UInt8[np.ndarray, "h w 3"], width: int = 640) -> str:
    """The picture that `jpeg` makes, as an address that holds it."""
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
    held = io.BytesIO()
    picture.save(held, "JPEG", quality=quality, subsampling=0, optimize=True)
    return held.getvalue()


def paint(
    frame: UInt8[np.ndarray, "h w 3"], masks: Bool[np.ndarray, "o h w"], colours: Sequence[RGB], least: int = 400
) -> UInt8[np.ndarray, "H W 3"]:
    """The frame with its masks drawn on it, enlarged first when narrower than `least` so that outlines stay thin."""
    import cv2

    scale = max(1, round(least / frame.shape[1]))
    size = (frame.shape[1] * scale, frame.shape[0] * scale)
    if scale == 1:
        return drawing.overlay(frame, masks, colours=colours)
    large = [cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0 for mask in masks]
    base = np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC))
    return drawing.overlay(base, np.stack(large) if large else np.zeros((0, *base.shape[:2]), bool), colours=colours)


def box_marks(
    boxes: Float32[np.ndarray, "k 4"],
    points: Float32[np.ndarray, "m 2"],
    labels: Bool[np.ndarray, " m"],
    colour: RGB,
) -> str:
    """SVG of a target's unit boxes and points, to lie over a picture; the box keeps its line width at any size."""
    marks = []
    for x1, y1, x2, y2 in boxes.astype(float) * 100:
        place = f'x="{x1:.2f}" y="{y1:.2f}" width="{x2 - x1:.2f}" height="{y2 - y1:.2f}"'
        marks.append(f'<rect class="halo" {place}/><rect {place} style="stroke:{css(colour)}"/>')
    for (x, y), positive in zip(points.astype(float) * 100, labels, strict=True):
        fill = css(colour) if positive else "#fff"
        marks.append(f'<ellipse cx="{x:.2f}" cy="{y:.2f}" rx="1.2" ry="1.2" style="fill:{fill}"/>')
    return f'<svg class="marks" viewBox="0 0 100 100" preserveAspectRatio="none">{"".join(marks)}</svg>'


def timeline(
    share: Float64[np.ndarray, " t"],
    truth: Float64[np.ndarray, " t"] | None,
    doubtful: Bool[np.ndarray, " t"],
    keyframes: Sequence[tuple[float, RGB]],
    seen: Int64[np.ndarray, " s"] | None = None,
) -> str:
    """SVG of the masks' share of the frame over time; `keyframes` are (place in [0, t-1], colour) pairs.

    The truth is a dashed line, `doubtful` frames are hatched along the bottom, `seen` frames are ticks.
    """
    w, h, last = 1000.0, 150.0, max(len(share) - 1, 1)
    top = max(float(share.max(initial=0)), 0 if truth is None else float(truth.max(initial=0)), 1e-9) * 1.12

    def line(values: np.ndarray) -> str:
        return " ".join(f"{i * w / last:.1f},{h - v / top * h:.1f}" for i, v in enumerate(values))

    bits = [f'<polygon class="area" points="0,{h} {line(share)} {w},{h}"/>']
    bits.append(f'<polyline class="edge" points="{line(share)}"/>')
    if truth is not None:
        bits.append(f'<polyline class="truth" points="{line(truth)}"/>')
    step = w / last
    for i in np.flatnonzero(doubtful):
        bits.append(f'<rect class="doubt" x="{i * step - step / 2:.1f}" y="{h - 7}" width="{step:.1f}" height="7"/>')
    for place in seen if seen is not None else ():
        bits.append(f'<line class="tick" x1="{place * step:.1f}" x2="{place * step:.1f}" y1="{h}" y2="{h + 9}"/>')
    for place, colour in keyframes:
        x = f"{place * step:.1f}"
        bits.append(f'<line class="key" x1="{x}" x2="{x}" y1="0" y2="{h + 9}" style="stroke:{css(colour)}"/>')
    return f'<svg class="timeline" viewBox="-6 -4 1012 168" preserveAspectRatio="none">{"".join(bits)}</svg>'
