"""What is asked: from the conversation so far to the next message.

The `_terse` twins ask the same in as few words as a small policy needs. Pictures are resized without keeping their
aspect ratio, as in the paper; `size` is one side of a square or [height, width].
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from revseg.errors import SpecError
from revseg.registry import register
from revseg.types import Boxes, Clip, Message, Rollout, Target

LARGEST = 8192  # pixels a side of a picture; a size beyond any model's would fill the memory

_CHOICE = """\
The video above is {seconds:g} seconds long and consists of {frames} frames, numbered from 0 to {last}.
Question: {question}
Find what the question asks for. First think: compare the objects that it could mean, look at every frame, and decide \
which object answers the question. Then choose the one frame on which that object is easiest to segment: clearly \
visible, large, distinct from its surroundings, sharp and close to the middle. Describe how the object looks on that \
frame (kind, colour, shape, position), without motion and without repeating the question.
"""
_ABSENCE = "If nothing in the video answers the question, give an empty list: []."

_KEYFRAME = f"""{_CHOICE}\
Write your reasoning inside <think></think> and your answer inside <answer></answer>. The answer is a JSON list with \
one dict:
<think>your reasoning</think>
<answer>[{{{{"frame_idx": 0, "object description": "a short description"}}}}]</answer>
{_ABSENCE}"""

_KEYFRAME_AND_BOX = f"""{_CHOICE}\
Give its bounding box on that frame in pixels, as [x1, y1, x2, y2].
Write your reasoning inside <think></think> and your answer inside <answer></answer>. The answer is a JSON list with \
one dict:
<think>your reasoning</think>
<answer>[{{{{"frame_idx": 0, "object description": "a short description", "bbox_2d": [x1, y1, x2, y2]}}}}]</answer>
{_ABSENCE}"""

_VERIFY = """\
Question about the video: {question}
Somebody answers: {description}, the object inside the box drawn in this picture.
Is that the object that the question means, and does the box hold all of it and little else? Answer in JSON: \
{{"verdict": "yes"}}, {{"verdict": "no", "reason": "..."}}, or {{"verdict": "absent"}} if nothing in the video \
answers the question."""

_AGAIN = """\
That answer was checked and found wrong{reason}. Think again, choose another object or another frame for the \
question "{question}", and answer in the same form as before.
{absence}"""

KEYFRAME, BOX, BOTH, VERDICT = ("keyframe",), ("box",), ("keyframe", "box"), ("verdict",)  # what a message asks for

_BOX = 'Answer in JSON with pixel coordinates: [{"bbox_2d": [x1, y1, x2, y2], "label": "..."}].'


@register("prompt", "keyframe")
def keyframe(rollout: Rollout, *, size: int | Sequence[int] = 448, fps: float = 2.0) -> Message:
    """Round 1 of the paper: the clip and the question; asks for a keyframe and a description. `fps` is nominal."""
    return _about_clip(rollout, _KEYFRAME, size, fps, KEYFRAME)


@register("prompt", "box")
def box(rollout: Rollout, *, size: int | Sequence[int] = 840) -> Message:
    """Round 2 of the paper: the keyframe and the description; asks for the box. Several targets: several of each."""
    targets = rollout.asked
    pictures = _pictures(rollout, targets, size)
    order = list(dict.fromkeys(target.frame_id for target in targets))
    if len(targets) == 1:
        return Message("user", (*pictures, f"Detect {targets[0].description} in this picture. {_BOX}"), BOX)
    lines = [f"{n}. {t.description} (picture {order.index(t.frame_id) + 1})" for n, t in enumerate(targets, 1)]
    asked = f"Detect each of the following, one box each, in this order:\n{chr(10).join(lines)}\n{_BOX}"
    return Message("user", (*pictures, asked), BOX)


@register("prompt", "keyframe_and_box")
def keyframe_and_box(rollout: Rollout, *, size: int | Sequence[int] = 448, fps: float = 2.0) -> Message:
    """One round that asks for keyframe, description and box at once: the paper's ablation of its two rounds."""
    return _about_clip(rollout, _KEYFRAME_AND_BOX, size, fps, BOTH)


@register("prompt", "keyframe_terse")
def keyframe_terse(rollout: Rollout, *, size: int | Sequence[int] = 112, ruler: int = 0) -> Message:
    """Round 1 for a small policy: the clip and the question, nothing else. `ruler`: see `ruled`."""
    return Message("user", (ruled(resize(rollout.clip, size), ruler), f" {rollout.query.text}"), KEYFRAME)


@register("prompt", "box_terse")
def box_terse(rollout: Rollout, *, size: int | Sequence[int] = 112, ruler: int = 0) -> Message:
    """Round 2 for a small policy: the keyframe and the description, nothing else. `ruler`: see `ruled`."""
    words = _words(rollout.asked)
    pictures = (ruled(picture, ruler) for picture in _pictures(rollout, rollout.asked, size))
    return Message("user", (*pictures, f" {words}"), BOX)


@register("prompt", "keyframe_and_box_terse")
def keyframe_and_box_terse(rollout: Rollout, *, size: int | Sequence[int] = 112, ruler: int = 0) -> Message:
    """Both in one round for a small policy: the clip, the word "both" and the question. `ruler`: see `ruled`."""
    return Message("user", (ruled(resize(rollout.clip, size), ruler), f" both {rollout.query.text}"), BOTH)


@register("prompt", "verify")
def verify(rollout: Rollout, *, size: int | Sequence[int] = 840) -> Message:
    """Shows the keyframes with the boxes of the answer drawn on them; asks whether that is what the question means."""
    text = _VERIFY.format(question=rollout.query.text, description=_words(rollout.asked))
    return Message("user", (*_boxed(rollout, size), text), VERDICT)


@register("prompt", "verify_terse")
def verify_terse(rollout: Rollout, *, size: int | Sequence[int] = 112) -> Message:
    """The same for a small policy: the pictures with their boxes, the word "right" and the question."""
    return Message("user", (*_boxed(rollout, size), f" right {rollout.query.text}"), VERDICT)


@register("prompt", "again")
def again(rollout: Rollout) -> Message:
    """After a check that said no: asks for another keyframe and description, in words alone; the clip is in context."""
    said = rollout.turns[-1].answer.detail if rollout.turns else ""
    return Message(
        "user",
        (_AGAIN.format(reason=f" ({said})" if said else "", question=rollout.query.text, absence=_ABSENCE),),
        KEYFRAME,
    )


@register("prompt", "again_terse")
def again_terse(rollout: Rollout) -> Message:
    """The same for a small policy: the word "again" and the question."""
    return Message("user", (f" again {rollout.query.text}",), KEYFRAME)


@register("prompt", "template")
def template(
    rollout: Rollout, *, path: str, size: int | Sequence[int] | None = None, show: str = "clip", fps: float = 2.0
) -> Message:
    """Your own wording, from a text file with {question}, {frames}, {seconds} and, from round 2 on, {description}.

    Other braces, such as those of a JSON example, stay as they are. `show` is what stands before the text: `clip`
    (at 448 by default) or `keyframe` (at 840). SpecError for a file that cannot be read or another {word}.
    """
    if show not in ("clip", "keyframe"):
        raise SpecError(f"show={show!r}: expected clip or keyframe")
    targets = rollout.asked
    known = {
        "question": rollout.query.text,
        "frames": str(len(rollout.clip)),
        "seconds": f"{_seconds(len(rollout.clip), fps):g}",
        "description": _words(targets),
    }
    text = _fill(path, known if targets else {k: v for k, v in known.items() if k != "description"})
    if show == "clip":
        return Message("user", (resize(rollout.clip, 448 if size is None else size), text))
    return Message("user", (*_pictures(rollout, targets, 840 if size is None else size), text), BOX)


def resize(clip: Clip, size: int | Sequence[int]) -> Clip:
    """The clip at another size (bicubic): one side of a square, or (height, width). The same object if it fits."""
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2 or not all(isinstance(side, int) and 1 <= side <= LARGEST for side in sides):
        raise SpecError(f"size={size!r:.80}: expected a side in pixels, 1 to {LARGEST}, or [height, width]")
    height, width = sides
    if clip.size == (height, width):
        return clip
    from PIL import Image

    frames = [Image.fromarray(f).resize((width, height), Image.Resampling.BICUBIC) for f in clip.frames]
    return Clip(np.stack([np.asarray(f) for f in frames]), clip.frame_ids)


def ruled(clip: Clip, tile: int) -> Clip:
    """The clip with a ruler in its pixels: the top row of each tile is coloured by time, its left column by place.

    `tile` is the side of a tile in pixels, best that of the policy's patches; 0 draws nothing. Rotary positions tell
    distances, not where or when a patch is: released models have learnt to tell, a small one hardly learns it from the
    little that it sees. The idea is CoordConv's (arXiv 1807.03247): coordinates as an input beside the colours. Time is
    counted in sixteenths of the clip, or in frames where there are fewer than 16 of them.
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


def _seconds(frames: int, fps: float) -> float:
    if not 0 < fps < float("inf"):
        raise SpecError(f"fps={fps!r}: expected a rate above 0")
    return frames / fps


def _about_clip(rollout: Rollout, text: str, size: int | Sequence[int], fps: float, asks: tuple[str, ...]) -> Message:
    clip = resize(rollout.clip, size)
    frames = len(clip)
    filled = text.format(seconds=_seconds(frames, fps), frames=frames, last=frames - 1, question=rollout.query.text)
    return Message("user", (clip, filled), asks)


def _words(targets: Sequence[Target]) -> str:
    return "; ".join(target.description for target in targets)


def _boxed(rollout: Rollout, size: int | Sequence[int]) -> list[Clip]:
    """The keyframes with the boxes of the targets drawn on them, two pixels wide and more on large pictures."""
    drawn = []
    for picture in _pictures(rollout, rollout.asked, size):
        boxes = [box for t in rollout.asked if t.frame_id == int(picture.frame_ids[0]) for box in t.boxes]
        frame = outlined(picture.frames[0], np.array(boxes, np.float32).reshape(-1, 4))
        drawn.append(Clip(frame[None], picture.frame_ids))
    return drawn


def outlined(frame: np.ndarray, boxes: Boxes) -> np.ndarray:
    """uint8[h w 3] with the edges of unit boxes drawn into it, red inside white so that any background shows them."""
    from PIL import Image, ImageDraw

    picture = Image.fromarray(frame)
    pen, (height, width) = ImageDraw.Draw(picture), frame.shape[:2]
    line = max(1, round(min(height, width) / 200))
    for x1, y1, x2, y2 in boxes.tolist():
        edges = [x1 * width, y1 * height, max(x2 * width - 1, x1 * width), max(y2 * height - 1, y1 * height)]
        pen.rectangle([edges[0] - line, edges[1] - line, edges[2] + line, edges[3] + line], outline="white", width=line)
        pen.rectangle(edges, outline=(255, 0, 0), width=line)
    return np.asarray(picture)


def _pictures(rollout: Rollout, targets: Sequence[Target], size: int | Sequence[int]) -> list[Clip]:
    """One picture per keyframe, in the order in which the targets name them, resized from the source's full size."""
    keyframes = list(dict.fromkeys(t.frame_id for t in targets if t.frame_id is not None))
    if not keyframes:
        raise SpecError("this prompt shows a keyframe; it can only follow a round that chose one")
    return [resize(rollout.picture(frame_id), size) for frame_id in keyframes]


def _fill(path: str, known: dict[str, str]) -> str:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"cannot read the prompt file {path!r}: {error}") from error

    def value(match: re.Match[str]) -> str:
        if match[1] not in known:
            options = ", ".join(f"{{{name}}}" for name in known)
            raise SpecError(f"{path!r} holds {match[0]}, which is not known in this round; expected {options}")
        return known[match[1]]

    return re.sub(r"\{(\w+)\}", value, text)
