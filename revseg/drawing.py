"""Masks, boxes and labels drawn on frames, and contact sheets of frames."""

import unicodedata
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8

from revseg.colours import RGB, colour, rgb_of
from revseg.errors import InputError
from revseg.masks.dense import binary, tight_box, to_pixels

DIM = 0.55  # default of `overlay`'s `dim`
KEYFRAME = "#f9ab00"
CONTEXT: RGB = (185, 185, 185)  # outlines of objects that are no part of the answer
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # weights of R, G, B in the luma of BT.601

Corners = tuple[int, int, int, int]  # a box in pixels


def overlay(
    frame: UInt8[np.ndarray, "*t h w 3"],
    masks: np.ndarray,
    boxes: Float[np.ndarray, "k 4"] | None = None,
    labels: Sequence[str] | None = None,
    *,
    colours: Sequence[RGB] | None = None,
    dim: float = DIM,
    context: np.ndarray | None = None,
) -> UInt8[np.ndarray, "*t h w 3"]:
    """A copy of the frame with the objects outlined and everything else dimmed.

    Objects are not tinted, so that none is taken for another. Outlines follow the masks' edges in the object's colour,
    with a black line outside that stands out on any background. `colours[i]` is the colour of object i;
    `revseg.colours.choose_colours` picks colours that differ from the scene's. `dim` in [0, 1] says how far the rest
    goes towards a dark grey (0: not at all). A frame on which all masks are empty is dimmed; one without masks is not.

    `masks` are bool[o h w] (or 0/1, 0/255), or [o t h w] for several frames [t h w 3]. `boxes[i]` (unit xyxy) and
    `labels[i]` belong to object i; a label is placed on its box, or on the mask where there is no box. `context` are
    masks of other objects: dimmed like the rest, with a light grey outline.
    """
    others = masks[:0] if context is None else context
    for given in (masks, others):
        if given.shape[1:] != frame.shape[:-1]:
            raise InputError(f"expected masks [o, *{list(frame.shape[:-1])}] for these frames, got {list(given.shape)}")
    masks, others = binary(masks), binary(others)
    if frame.ndim == 4:
        options = {"colours": colours, "dim": dim}
        done = [overlay(f, masks[:, i], boxes, labels, context=others[:, i], **options) for i, f in enumerate(frame)]
        return np.stack(done) if done else frame.copy()
    objects = np.asarray(masks.any(0))
    canvas = _dimmed(frame, objects, dim) if len(masks) else np.ascontiguousarray(frame).copy()
    thick = max(1, min(6, round(min(canvas.shape[:2]) / 150)))
    count = max(len(masks), 0 if boxes is None else len(boxes), len(labels or ()))
    row = [*(colours or ()), *(colour(i) for i in range(len(colours or ()), count))]
    for mask in others:
        _outline(canvas, mask, objects, CONTEXT, max(1, thick // 2))
    for index, mask in enumerate(masks):
        _outline(canvas, mask, objects, row[index], thick)
    corners = [] if boxes is None else [_pixel_corners(box, canvas.shape[:2]) for box in boxes]
    for index, box in enumerate(corners):
        _draw_box(canvas, box, row[index], thick)
    _label_objects(canvas, labels or (), corners, masks, row)
    return canvas


def _label_objects(
    canvas: np.ndarray, labels: Sequence[str], corners: Sequence[Corners], masks: np.ndarray, row: Sequence[RGB]
) -> None:
    for index, text in enumerate(labels):
        box = corners[index] if index < len(corners) else tight_box(masks[index]) if index < len(masks) else None
        if box is not None and text:
            _write(canvas, text, box[:2], row[index])


def contact_sheet(
    frames: Sequence[np.ndarray] | np.ndarray,
    captions: Sequence[str | int] | None = None,
    keyframe: int | None = None,
    *,
    columns: int = 4,
    width: int = 320,
) -> UInt8[np.ndarray, "h w 3"]:
    """Frames uint8[h w 3] side by side in one picture, row by row, each `width` pixels wide with its caption.

    `captions` are frame numbers or words, by default 0, 1, 2 ...; frame `keyframe` of the sheet gets a golden border.
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
        text, plate = str(captions[index] if captions is not None else index), (60, 60, 60)
        if index == keyframe:
            _draw_border(sheet, (x, y, x + width, y + h), max(2, gap - 1))
            text, plate = f"{text} keyframe", rgb_of(KEYFRAME)
        _write(sheet, text, (x, y), plate, size=max(10, width // 20), inside=True)
    return sheet


def _draw_border(sheet: np.ndarray, box: Corners, thick: int) -> None:
    """A golden border just outside the box and on its outermost pixels."""
    import cv2

    x1, y1, x2, y2 = box
    for inset in range(-thick, 1):
        cv2.rectangle(sheet, (x1 + inset, y1 + inset), (x2 - 1 - inset, y2 - 1 - inset), rgb_of(KEYFRAME))


def _dimmed(frame: np.ndarray, keep: Bool[np.ndarray, "h w"], dim: float) -> np.ndarray:
    """A copy in which all pixels but those to keep are darker and greyer."""
    grey = (frame @ LUMA)[..., None]
    rest = (frame * (1 - dim) + grey * dim * (1 - dim) * 0.8 + 0.5).astype(np.uint8)
    return np.where(keep[..., None], frame, rest)


def _outline(canvas: np.ndarray, mask: np.ndarray, objects: np.ndarray, rgb: RGB, thick: int) -> None:
    """Outlines the mask in place. The black line is drawn outside of all `objects` only, not to cover small ones."""
    import cv2

    box = tight_box(mask)
    if box is None:
        return
    margin = 2 * thick + 2
    x1, y1 = max(box[0] - margin, 0), max(box[1] - margin, 0)
    x2, y2 = box[2] + margin, box[3] + margin
    part, inside = canvas[y1:y2, x1:x2], np.ascontiguousarray(mask[y1:y2, x1:x2])
    drawn = np.ascontiguousarray(part)
    edges = cv2.findContours(inside.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)[0]
    smooth = cv2.LINE_AA if thick > 1 else cv2.LINE_8  # smoothing would blur a line of one pixel away
    before = drawn.copy()
    cv2.drawContours(drawn, edges, -1, (0, 0, 0), 2 * thick + 1, smooth)
    here = objects[y1:y2, x1:x2]
    drawn[here] = before[here]
    cv2.drawContours(drawn, edges, -1, rgb, thick, smooth)
    part[:] = drawn


def _draw_box(canvas: np.ndarray, box: Corners, rgb: RGB, thick: int) -> None:
    import cv2

    x1, y1, x2, y2 = box
    for shade, width in (((0, 0, 0), 2 * thick + 2), (rgb, thick + 1)):
        cv2.rectangle(canvas, (x1, y1), (x2 - 1, y2 - 1), shade, width)


def _write(
    canvas: np.ndarray,
    text: str,
    place: tuple[int, int],
    rgb: RGB,
    size: int | None = None,
    inside: bool = False,
) -> None:
    """Text on a plate of this colour above `place` (x, y), or below it with `inside`; moved to stay in the picture.

    The text is black or white, whichever contrasts. Pillow's built-in font is ASCII only, so accents are dropped and
    other characters become question marks.
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


def _pixel_corners(box: np.ndarray, size: Sequence[int]) -> Corners:
    """A unit box rounded to whole pixels, at least one wide and high."""
    x1, y1, x2, y2 = (int(v) for v in np.rint(to_pixels(box, size)))
    return x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)
