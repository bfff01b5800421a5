"""Colours for objects: a fixed sequence, and a choice of colours that differ from those of a scene."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8

from revseg.masks.dense import tight_box

RGB = tuple[int, int, int]
COLOURS = ("#ff3b6b", "#12b5cb", "#f9ab00", "#7cb342", "#9c6ade", "#ff7043", "#5c8df6", "#c0ca33")
VIVID = ("#ff2fd0", "#00e5ff", "#ffe600", "#39ff6a", "#ffffff", "#ff9100")  # further bright candidates
ALIKE = 25.0  # distance in CIE Lab below which two colours are easily confused
SMALL = 0.005  # share of the pixels from which a colour of the scene counts fully
PIXELS = 4096  # sampled per frame
BINS = 8  # per channel of the histogram of a scene's colours
OWN = 1.5  # weight of a colour already given to another object, relative to one of the scene


def colour(index: int) -> RGB:
    """RGB of object `index`: eight hand-picked colours, then darker hues a golden angle apart, without repeats."""
    if index < len(COLOURS):
        return rgb_of(COLOURS[index])
    import colorsys

    r, g, b = colorsys.hsv_to_rgb((index * 0.618034 + 0.4) % 1, 0.9, 0.65)
    return round(r * 255), round(g * 255), round(b * 255)


def choose_colours(
    frames: Sequence[np.ndarray] | np.ndarray, masks: Sequence[np.ndarray] | np.ndarray, objects: int
) -> list[RGB]:
    """Distinct colours for the objects: of all candidates those least similar to the colours on these frames.

    `frames` are uint8[h w 3] each, `masks` bool[o h w] each, one for every frame. The surroundings of an object (its
    box, enlarged by half), where its contour is drawn, count as much as the whole frames. A colour that fills at least
    `SMALL` of the pixels counts fully, others by the square root of their share. Without frames: the fixed sequence.
    """
    scenes, near = [], [[] for _ in range(objects)]
    for frame, some in zip(frames, masks, strict=True):
        scenes.append(_pixels(frame))
        for index, mask in enumerate(some[:objects]):
            near[index] += _around(frame, mask)
    pool = [rgb_of(text) for text in (*COLOURS, *VIVID)]
    pool += [c for c in (colour(i) for i in range(len(COLOURS), len(COLOURS) + objects)) if c not in pool]
    if not scenes:
        return [colour(index) for index in range(objects)]
    lab = to_lab(np.array(pool, np.float32))
    everywhere = _likeness(lab, scenes)
    taken, chosen = np.zeros(len(pool)), []
    for local in near:
        cost = everywhere + taken + (_likeness(lab, local) if local else 0)
        best = int(np.argmin(cost + 1e-3 * np.arange(len(pool))))  # ties go to the earlier colour
        chosen.append(pool[best])
        taken += OWN * _near(lab, lab[best])
        taken[best] = np.inf
    return chosen


def to_lab(rgb: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """CIE Lab (D65) of sRGB in 0..255, in which distances are about as large as they look."""
    share = rgb / 255.0
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    xyz = linear @ np.array([[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]])
    ratio = xyz / np.array([0.9505, 1.0, 1.089])
    f = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)


def css(rgb: Sequence[int]) -> str:
    """The colour in CSS, such as "rgb(255, 59, 107)"."""
    return f"rgb({', '.join(str(int(v)) for v in rgb)})"


def rgb_of(text: str) -> RGB:
    """RGB of a text such as "#ff3b6b"."""
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def _likeness(lab: Float[np.ndarray, "n 3"], parts: Sequence[UInt8[np.ndarray, "_ 3"]]) -> Float[np.ndarray, " n"]:
    """Similarity of each colour to these pixels: near 1 when one of their colours is the same, near 0 far from all.

    The L4 norm of the similarities to all colours of the pixels, which is close to their maximum.
    """
    pixels = np.concatenate(parts).astype(np.int64) * BINS // 256
    codes = (pixels[:, 0] * BINS + pixels[:, 1]) * BINS + pixels[:, 2]
    found, counts = np.unique(codes, return_counts=True)
    middles = np.stack([found // BINS**2, found // BINS % BINS, found % BINS], 1)
    scene = to_lab((middles + 0.5).astype(np.float32) * (256 / BINS))
    weight = np.minimum(1, np.sqrt(counts / counts.sum() / SMALL))
    return ((weight * _near(lab[:, None], scene[None])) ** 4).sum(1) ** 0.25


def _near(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Similarity of two colours: 1 at distance 0, 1/2 at `ALIKE`, and never 0, so that further is always better."""
    return 1 / (1 + (np.linalg.norm(one - other, axis=-1) / ALIKE) ** 2)


def _pixels(frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "_ 3"]:
    """About `PIXELS` pixels at most, evenly spread."""
    step = max(1, round((frame.shape[0] * frame.shape[1] / PIXELS) ** 0.5))
    return frame[::step, ::step].reshape(-1, 3)


def _around(frame: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"]) -> list[UInt8[np.ndarray, "_ 3"]]:
    """Pixels in a mask's box enlarged by half; none where the mask is empty."""
    box = tight_box(mask)
    if box is None:
        return []
    x1, y1, x2, y2 = box
    dy, dx = (y2 - y1) // 4 + 4, (x2 - x1) // 4 + 4
    return [_pixels(frame[max(y1 - dy, 0) : y2 + dy, max(x1 - dx, 0) : x2 + dx])]
