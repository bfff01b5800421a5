"""The contract of a tracker."""

from collections.abc import Sequence
from typing import Any

from revseg import checked
from revseg.masks.metrics import object_regions
from revseg.registry import build
from revseg.testing.running import expect, kept
from revseg.testing.squares import Scene, moving_squares
from revseg.types import Grounding, NeedsTruth, Sample, Tracker


def check_tracker(tracker: Any, *, size: tuple[int, int] = (48, 64), frames: int = 7, iou: float = 0.0) -> None:
    """Every frame of the source, in order, at its size, one object an `object_id`; the same call, the same masks.

    Tried on moving squares: one grounding on the first, the middle and the last frame, two objects, one object on two
    frames, a video of one frame. `iou`: the mean IoU with the truth to be reached in each.
    """
    built: Tracker = build("tracker", tracker)
    one, two = moving_squares(frames, size), moving_squares(frames, size, objects=2)
    last, middle = frames - 1, frames // 2
    cases: list[tuple[Scene, list[Grounding]]] = [(one, [one.ground(0, at)]) for at in (0, middle, last)]
    cases += [(two, [two.ground(0, middle), two.ground(1, 0)]), (two, [two.ground(1, last)])]
    cases += [(one, [one.ground(0, 0), one.ground(0, last)])]
    single = moving_squares(1, size)
    cases += [(single, [single.ground(0, 0)])]
    for scene, groundings in cases:
        _prove(tracker, built, scene, groundings, iou)


def _prove(name: Any, tracker: Tracker, scene: Scene, groundings: Sequence[Grounding], iou: float) -> None:
    objects = sorted({g.object_id for g in groundings})
    truth = scene.truth.select(objects)
    if isinstance(tracker, NeedsTruth):
        tracker = tracker.with_truth([Sample(scene.video, scene.query, truth)])
    masks = tracker(scene.video, groundings)
    what = f"{name!r} on {scene.video.id}, prompted on frames {[g.frame_id for g in groundings]}, gave {masks!r}"
    with kept():
        checked.masks(tracker, masks, scene.video, len(objects))
    again = tracker(scene.video, groundings)
    expect(again.counts == masks.counts, f"{what}, and other masks when called again")
    overlap = float(object_regions(masks, truth).mean())
    expect(overlap >= iou, f"{what} with a mean IoU of {overlap:.3f}; expected {iou}")
