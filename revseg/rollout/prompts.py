"""Prompts: from the conversation so far to the next message.

Those named `_terse` ask the same in the few words that a small policy needs. Pictures are resized without keeping their
aspect ratio, as in the paper; `size` is the side of a square or [height, width].
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from revseg.errors import SpecError
from revseg.registry import register
from revseg.rollout.pictures import keyframe_pictures, keyframes_with_boxes, resize, ruled
from revseg.types import Message, Rollout, Target

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
Give its bounding box on that frame {{unit}}, as [x1, y1, x2, y2].
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

_BOX = 'Answer in JSON with {coordinates}: [{{"bbox_2d": [x1, y1, x2, y2], "label": "..."}}].'

_UNIT = {  # of a box on a frame of the clip
    "pixel": "in pixels",
    "per_mille": "in thousandths of the frame's width and height (0 to 1000)",
    "unit": "in fractions of the frame's width and height (0 to 1)",
}
_COORDINATES = {  # of a box on a picture
    "pixel": "pixel coordinates",
    "per_mille": "coordinates from 0 to 1000 (thousandths of the picture's width and height)",
    "unit": "coordinates from 0 to 1 (fractions of the picture's width and height)",
}


@register("prompt", "keyframe")
def keyframe(rollout: Rollout, *, size: int | Sequence[int] = 448, fps: float = 2.0) -> Message:
    """Round 1 of the paper: the clip and the question; asks for a keyframe and a description.

    `fps` is the nominal rate by which the text gives the clip's length in seconds.
    """
    return _about_clip(rollout, _KEYFRAME, size, fps, KEYFRAME)


@register("prompt", "box")
def box(rollout: Rollout, *, size: int | Sequence[int] = 840, coords: str = "auto") -> Message:
    """Round 2 of the paper: the keyframe and the description; asks for the box. With several targets, one box each.

    `coords` is the unit that it asks for, as for the parsers; so in `keyframe_and_box`.
    """
    targets, asked = rollout.asked, _BOX.format(coordinates=_words_of(_COORDINATES, coords))
    pictures = keyframe_pictures(rollout, targets, size)
    order = list(dict.fromkeys(target.frame_id for target in targets))
    if len(targets) == 1:
        return Message("user", (*pictures, f"Detect {targets[0].description} in this picture. {asked}"), BOX)
    lines = [f"{n}. {t.description} (picture {order.index(t.frame_id) + 1})" for n, t in enumerate(targets, 1)]
    several = f"Detect each of the following, one box each, in this order:\n{chr(10).join(lines)}\n{asked}"
    return Message("user", (*pictures, several), BOX)


@register("prompt", "keyframe_and_box")
def keyframe_and_box(
    rollout: Rollout, *, size: int | Sequence[int] = 448, fps: float = 2.0, coords: str = "auto"
) -> Message:
    """One round that asks for keyframe, description and box at once: the paper's ablation of its two rounds."""
    return _about_clip(rollout, _KEYFRAME_AND_BOX, size, fps, BOTH, _words_of(_UNIT, coords))


@register("prompt", "keyframe_terse")
def keyframe_terse(rollout: Rollout, *, size: int | Sequence[int] = 112, ruler: int = 0) -> Message:
    """Round 1 for a small policy: the clip and the question, nothing else. `ruler`: see `ruled`."""
    return Message("user", (ruled(resize(rollout.clip, size), ruler), f" {rollout.query.text}"), KEYFRAME)


@register("prompt", "box_terse")
def box_terse(rollout: Rollout, *, size: int | Sequence[int] = 112, ruler: int = 0) -> Message:
    """Round 2 for a small policy: the keyframe and the description, nothing else. `ruler`: see `ruled`."""
    words = _words(rollout.asked)
    pictures = (ruled(picture, ruler) for picture in keyframe_pictures(rollout, rollout.asked, size))
    return Message("user", (*pictures, f" {words}"), BOX)


@register("prompt", "keyframe_and_box_terse")
def keyframe_and_box_terse(rollout: Rollout, *, size: int | Sequence[int] = 112, ruler: int = 0) -> Message:
    """Both in one round for a small policy: the clip, the word "both" and the question. `ruler`: see `ruled`."""
    return Message("user", (ruled(resize(rollout.clip, size), ruler), f" both {rollout.query.text}"), BOTH)


@register("prompt", "verify")
def verify(rollout: Rollout, *, size: int | Sequence[int] = 840) -> Message:
    """The keyframes with the predicted boxes drawn on them; asks whether they show what the question means."""
    text = _VERIFY.format(question=rollout.query.text, description=_words(rollout.asked))
    return Message("user", (*keyframes_with_boxes(rollout, size), text), VERDICT)


@register("prompt", "verify_terse")
def verify_terse(rollout: Rollout, *, size: int | Sequence[int] = 112) -> Message:
    """The same for a small policy: the pictures with their boxes, the word "right" and the question."""
    return Message("user", (*keyframes_with_boxes(rollout, size), f" right {rollout.query.text}"), VERDICT)


@register("prompt", "again")
def again(rollout: Rollout) -> Message:
    """After the verdict "no": asks for another keyframe and description. Text only: the clip is in the context."""
    reason = rollout.turns[-1].answer.detail if rollout.turns else ""
    return Message(
        "user",
        (_AGAIN.format(reason=f" ({reason})" if reason else "", question=rollout.query.text, absence=_ABSENCE),),
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

    Other braces, such as those of a JSON example, are left as they are. `show` says which pictures come before the
    text: `clip` (at 448 by default) or `keyframe` (at 840). SpecError for a file that cannot be read and for a {word}
    that is none of these.
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
    return Message("user", (*keyframe_pictures(rollout, targets, 840 if size is None else size), text), BOX)


def _seconds(frames: int, fps: float) -> float:
    if not 0 < fps < float("inf"):
        raise SpecError(f"fps={fps!r}: expected a rate above 0")
    return frames / fps


def _words_of(units: Mapping[str, str], coords: str) -> str:
    """What to call the coordinates; "auto" that nobody has filled in is pixel."""
    if coords not in (*units, "auto"):
        raise SpecError(f"coords={coords!r:.80}: expected one of {', '.join(units)}, or auto")
    return units["pixel" if coords == "auto" else coords]


def _about_clip(
    rollout: Rollout, text: str, size: int | Sequence[int], fps: float, asks: tuple[str, ...], unit: str = ""
) -> Message:
    clip = resize(rollout.clip, size)
    frames, seconds = len(clip), _seconds(len(clip), fps)
    filled = text.format(seconds=seconds, frames=frames, last=frames - 1, question=rollout.query.text, unit=unit)
    return Message("user", (clip, filled), asks)


def _words(targets: Sequence[Target]) -> str:
    return "; ".join(target.description for target in targets)


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
