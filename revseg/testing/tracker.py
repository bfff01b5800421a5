"""The contract of a tracker."""

from collections.abc import Sequence
from typing import Any

from revseg import checked
from revseg.masks.metrics import object_regions
from revseg.registry import build
from revseg.testing.running import broken_contracts, expect
from revseg.testing.squares import Scene, moving_squares
from revseg.types import Grounding, NeedsTruth, Sample, Tracker


def check_tracker(tracker: Any, *, size: tuple[int, int] = (48, 64), frames: int = 7, iou: float = 0.0) -> None:
    """Checks that masks are on every frame of the source, at its size, one object per `object_id`, and reproducible.

    Tried on moving squares: one grounding on the first, the middle or the last frame, two objects, one object grounded
    on two frames, a video of one frame. `iou` is the least mean IoU with the truth in each case.
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
        _check(tracker, built, scene, groundings, iou)


def _check(name: Any, tracker: Tracker, scene: Scene, groundings: Sequence[Grounding], iou: float) -> None:
    objects = sorted({g.object_id for g in groundings})
    truth = scene.truth.select(objects)
    if isinstance(tracker, NeedsTruth):
        tracker = tracker.with_truth([Sample(scene.video, scene.query, truth)])
    masks = tracker(scene.video, groundings)
    what = f"{name!r} on {scene.video.id}, prompted on frames {[g.frame_id for g in groundings]}, gave {masks!r}"
    with broken_contracts():
        checked.masks(tracker, masks, scene.video, len(objects))
    again = tracker(scene.video, groundings)
    expect(again.counts == masks.counts, f"{what}, and other masks when called again")
    overlap = float(object_regions(masks, truth).mean())
    expect(overlap >= iou, f"{what} with a mean IoU of {overlap:.3f}; expected {iou}")
