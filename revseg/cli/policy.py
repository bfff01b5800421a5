"""The policy that the options of `segment` and `evaluate` mean: the one named, or `given` for `--box`."""

import math
from collections.abc import Sequence
from typing import Any

from revseg.errors import InputError, SpecError
from revseg.policies.names import PAPER
from revseg.video import Video


def given(
    boxes: Sequence[str], keyframes: Sequence[int], video: Video, query: str, same_object: bool = False
) -> dict[str, Any]:
    """The settings of a `ReVSeg` that answers with these boxes. Without a keyframe they are on frame 0.

    Several boxes are several objects, unless `same_object`. SpecError when the numbers of boxes and
    keyframes do not match, InputError when a box or a frame is outside the video.
    """
    frames = list(keyframes) or [0]
    if len(frames) == 1:
        frames *= len(boxes)
    if len(frames) != len(boxes):
        raise SpecError(
            f"expected one --keyframe for all boxes or one for each; got {len(keyframes)} for {len(boxes)} boxes"
        )
    if same_object and len(set(frames)) < len(frames):
        raise SpecError("--same-object corrects one object on several frames: give each --box a --keyframe of its own")
    for frame in frames:
        if not 0 <= frame < len(video):
            raise InputError(f"expected a --keyframe in 0..{len(video) - 1}, the frames of {video.id}; got {frame}")
    policy = {
        "name": "given",
        "keyframe": frames,
        "box": [unit_box(text, video.size) for text in boxes],
        "description": query,
        "same_object": same_object,
    }
    return {"policy": policy, "num_frames": len(set(frames))}


def unit_box(text: str, size: tuple[int, int]) -> list[float]:
    """ "10,20,60,80" in pixels, or in fractions when no number exceeds 1, as unit xyxy. InputError otherwise."""
    height, width = size
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 4 or not all(math.isfinite(n) for n in numbers):
        raise InputError(f"expected --box x1,y1,x2,y2, four numbers such as 10,20,60,80; got {text!r}")
    if max(numbers) > 1:
        numbers = [n / side for n, side in zip(numbers, (width, height, width, height), strict=True)]
    x1, y1, x2, y2 = numbers
    if not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1):
        raise InputError(
            f"expected --box x1,y1,x2,y2 with x1 < x2 and y1 < y2 inside the {width}x{height} picture, in pixels or in "
            f"fractions; got {text!r}"
        )
    return numbers


def policy_for_footage(asked: str | None, *, box: bool) -> str:
    """The policy for real videos: the one asked for. There is no default, since the bundled one knows `shapes` alone.

    SpecError when none was asked for; with `box`, the message offers --box as well.
    """
    if asked is not None:
        return asked
    other = ", or give --box with --keyframe, the target itself" if box else ""
    raise SpecError(
        f"the bundled policy knows the synthetic world only: pass --policy {PAPER} (with --tracker sam2){other}"
    )
