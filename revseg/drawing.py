"""Masks, boxes and words drawn on frames; pictures and videos written for people to look at."""

import unicodedata
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from revseg.colours import RGB, colour, rgb_of
from revseg.errors import InputError, OutputError
from revseg.masks import binary
from revseg.output import fresh_file

DIM = 0.55  # how much darker and greyer what is not meant becomes
KEYFRAME = "#f9ab00"
RATES = (0.01, 1000.0)  # frames a second that an MP4 is written at
LOW = np.array([0.299, 0.587, 0.114], np.float32)  # what red, green and blue weigh in a grey


def overlay(
    frame: UInt8[np.ndarray, "*t h w 3"],
    masks: np.ndarray,
    boxes: Float[np.ndarray, "k 4"] | None = None,
    labels: Sequence[str] | None = None,
    *,
    colours: Sequence[RGB] | None = None,
    dim: float = DIM,
) -> UInt8[np.ndarray, "*t h w 3"]:
    """A copy of the frame with the objects as they are, outlined in their colours, and all else dimmed.

    An object keeps its own colours, so that it is never taken for another. The outline runs on the mask's edge and is
    black around, to stand out anywhere. `colours[i]` is that of object i, from `revseg.colours.choose_colours` for one
    that stands out from the scene; `dim` in [0, 1] is how far the rest goes towards a dark grey (0: not at all), also
    where every mask is empty, but not without objects.

    Masks are bool[o h w] (or 0/1, 0/255); several frames [t h w 3] take masks [o t h w]. `boxes[i]` (unit xyxy) and
    `labels[i]` belong to object i; a label stands on its box, or on the mask where there is no box.
    """
    if masks.shape[1:] != frame.shape[:-1]:
        raise InputError(f"expected masks [o, *{list(frame.shape[:-1])}] for these frames, got {list(masks.shape)}")
    masks = binary(masks)
    if frame.ndim == 4:
        done = [overlay(f, masks[:, i], boxes, labels, colours=colours, dim=dim) for i, f in enumerate(frame)]
        return np.stack(done) if done else frame.copy()
    kept = np.asarray(masks.any(0))
    canvas = _dimmed(frame, kept, dim) if len(masks) else np.ascontiguousarray(frame).copy()
    thick = max(1, min(6, round(min(canvas.shape[:2]) / 150)))
    count = max(len(masks), 0 if boxes is None else len(boxes), len(labels or ()))
    row = [*(colours or ()), *(colour(i) for i in range(len(colours or ()), count))]
    for index, mask in enumerate(masks):
        _outline(canvas, mask, kept, row[index], thick)
    corners = [] if boxes is None else [_pixels(box, canvas.shape) for box in boxes]
    for index, (x1, y1, x2, y2) in enumerate(corners):
        _frame(canvas, (x1, y1, x2, y2), row[index], thick)
    for index, text in enumerate(labels or ()):
        place = corners[index][:2] if index < len(corners) else _top(masks[index]) if index < len(masks) else None
        if place is not None and text:
            _write(canvas, text, place, row[index])
    return canvas


def contact_sheet(
    frames: Sequence[np.ndarray] | np.ndarray,
    captions: Sequence[str | int] | None = None,
    keyframe: int | None = None,
    *,
    columns: int = 4,
    width: int = 320,
) -> UInt8[np.ndarray, "h w 3"]:
    """Several frames uint8[h w 3] as one picture, row by row, each `width` pixels wide with its caption.

    `captions` are frame numbers or words, 0, 1, 2 ... by default; frame `keyframe` of the sheet gets a golden border.
    """
    import cv2

    if len(frames) == 0 or columns < 1 or width < 16:
        raise InputError(f"expected frames, columns >= 1 and width >= 16, got {len(frames)}, {columns}, {width}")
    height = max(max(1, round(width * f.shape[0] / f.shape[1])) for f in frames)
    gap, columns = max(4, width // 40), min(columns, len(frames))
    rows = -(-len(frames) // columns)
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), 24, np.uint8)
    for index, frame in enumerate(frames):
        x, y = gap + index % columns * (width + gap), gap + index // columns * (height + gap)
        h = max(1, round(width * frame.shape[0] / frame.shape[1]))
        how = cv2.INTER_AREA if width < frame.shape[1] else cv2.INTER_NEAREST
        sheet[y : y + h, x : x + width] = cv2.resize(frame, (width, h), interpolation=how)
        marked = index == keyframe
        if marked:
            thick = max(2, gap - 1)
            for inset in range(-thick, 1):
                cv2.rectangle(
                    sheet, (x + inset, y + inset), (x + width - 1 - inset, y + h - 1 - inset), rgb_of(KEYFRAME)
                )
        text = str(captions[index] if captions is not None else index) + (" keyframe" if marked else "")
        _write(
            sheet, text, (x, y), rgb_of(KEYFRAME) if marked else (60, 60, 60), size=max(10, width // 20), inside=True
        )
    return sheet


def write_png(path: str | Path, image: np.ndarray, *, overwrite: bool = False) -> None:
    """A PNG of uint8[h w 3] (RGB), uint8[h w] (grey) or bool[h w] (0/255). OutputError when `path` exists."""
    from PIL import Image

    if image.dtype == bool:
        image = image.astype(np.uint8) * 255
    if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[-1] == 3)):
        raise InputError(f"expected uint8[h w 3], uint8[h w] or bool[h w], got {image.dtype}{list(image.shape)}")
    with fresh_file(path, overwrite=overwrite) as part:
        Image.fromarray(image).save(part, format="PNG")


def write_video(
    path: str | Path, frames: Iterable[np.ndarray], fps: float, *, quality: int = 20, overwrite: bool = False
) -> None:
    """An H.264 MP4 (yuv420p, BT.709) that browsers and players show, from uint8[h w 3] RGB frames, one at a time.

    Odd sizes are padded by repeating the last row or column, since the format stores colour in pairs. `quality` is
    x264's CRF: lower is better. The encoder is libx264, which PyAV's wheels carry; without it Cisco's libopenh264.
    Raises InputError without frames or when their size changes, OutputError when `path` exists or cannot be written.
    """
    import av
    from av.error import FFmpegError

    if not RATES[0] <= fps <= RATES[1]:
        raise InputError(f"expected fps in {RATES[0]:g}..{RATES[1]:g}, got {fps}")
    codec = next((name for name in ("libx264", "libopenh264") if name in av.codecs_available), None)
    if codec is None:
        raise OutputError(f"cannot write {path}: this build of PyAV has no H.264 encoder; pip install av")
    with fresh_file(path, overwrite=overwrite) as part:
        try:
            _encode(part, frames, Fraction(fps).limit_denominator(1001), codec, quality)
        except FFmpegError as error:
            raise OutputError(f"cannot write {path}: {error}") from error


def _encode(path: Path, frames: Iterable[np.ndarray], fps: Fraction, codec: str, quality: int) -> None:
    import av

    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        options = {"crf": str(quality), "preset": "veryfast"} if codec == "libx264" else {}
        stream: Any = container.add_stream(codec, rate=fps, options=options)
        stream.pix_fmt = "yuv420p"
        size = None
        for image in frames:
            expected = (*(size or image.shape[:2]), 3)
            if image.shape != expected or image.dtype != np.uint8:
                raise InputError(f"expected frames uint8{list(expected)}, got {image.dtype}{list(image.shape)}")
            if size is None:
                size = image.shape[:2]
                stream.height, stream.width = size[0] + size[0] % 2, size[1] + size[1] % 2
                context = stream.codec_context
                context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709, as players assume
                context.color_range = 1  # limited
            even = np.pad(image, ((0, size[0] % 2), (0, size[1] % 2), (0, 0)), "edge")
            picture = av.VideoFrame.from_ndarray(even, format="rgb24").reformat(
                format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
            )
            container.mux(stream.encode(picture))
        if size is None:
            raise InputError(f"expected frames to write, got none for {path.name}")
        container.mux(stream.encode())


def _dimmed(frame: np.ndarray, kept: np.ndarray, dim: float) -> np.ndarray:
    """A copy with all but the kept pixels darker and greyer."""
    grey = (frame @ LOW)[..., None]
    rest = (frame * (1 - dim) + grey * dim * (1 - dim) * 0.8 + 0.5).astype(np.uint8)
    return np.where(kept[..., None], frame, rest)


def _outline(canvas: np.ndarray, mask: np.ndarray, kept: np.ndarray, rgb: RGB, thick: int) -> None:
    """Outlines in place, inside the mask's box only; dark outside of all that is `kept`."""
    import cv2

    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return
    margin = 2 * thick + 2
    y1, y2 = max(rows[0] - margin, 0), rows[-1] + margin + 1
    x1, x2 = max(columns[0] - margin, 0), columns[-1] + margin + 1
    part, inside = canvas[y1:y2, x1:x2], np.ascontiguousarray(mask[y1:y2, x1:x2])
    drawn = np.ascontiguousarray(part)
    edges = cv2.findContours(inside.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)[0]
    smooth = cv2.LINE_AA if thick > 1 else cv2.LINE_8  # at one pixel, smoothing would blur the line away
    before = drawn.copy()
    cv2.drawContours(drawn, edges, -1, (0, 0, 0), 2 * thick + 1, smooth)
    held = kept[y1:y2, x1:x2]
    drawn[held] = before[held]  # the dark line is left outside only, so that a small object is not covered by it
    cv2.drawContours(drawn, edges, -1, rgb, thick, smooth)
    part[:] = drawn


def _frame(canvas: np.ndarray, box: tuple[int, int, int, int], rgb: tuple[int, int, int], thick: int) -> None:
    import cv2

    x1, y1, x2, y2 = box
    for shade, width in (((0, 0, 0), 2 * thick + 2), (rgb, thick + 1)):
        cv2.rectangle(canvas, (x1, y1), (x2 - 1, y2 - 1), shade, width)


def _write(
    canvas: np.ndarray,
    text: str,
    place: tuple[int, int],
    rgb: tuple[int, int, int],
    size: int | None = None,
    inside: bool = False,
) -> None:
    """Words on a plate of the colour, black or white by its brightness, kept inside the picture; above `place`.

    Pillow's own font has the letters of ASCII: accents are left out and other characters become question marks.
    """
    from PIL import Image, ImageDraw, ImageFont

    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    text = plain.encode("ascii", "replace").decode("ascii")
    height, width = canvas.shape[:2]
    font = ImageFont.load_default(size or max(10, round(min(height, width) / 28)))
    left, top, right, bottom = (round(v) for v in font.getbbox(text))
    pad = max(2, (bottom - top) // 4)
    w, h = right - left + 2 * pad, bottom - top + 2 * pad
    plate = Image.new("RGB", (w, h), rgb)
    ink = (0, 0, 0) if 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2] > 140 else (255, 255, 255)
    ImageDraw.Draw(plate).text((pad - left, pad - top), text, font=font, fill=ink)
    x, y = max(0, min(place[0], width - w)), max(0, min(place[1] - (0 if inside else h), height - h))
    visible = np.asarray(plate)[: height - y, : width - x]
    canvas[y : y + visible.shape[0], x : x + visible.shape[1]] = visible


def _pixels(box: np.ndarray, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    height, width = shape[:2]
    x1, y1, x2, y2 = (round(float(v) * side) for v, side in zip(box, (width, height, width, height), strict=True))
    return x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)


def _top(mask: np.ndarray) -> tuple[int, int] | None:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (int(columns[0]), int(rows[0])) if len(rows) else None
