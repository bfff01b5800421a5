"""Questions about what happens: motion, growth, appearing and disappearing, speed."""

from collections.abc import Iterator

from revseg.shapes.scene import Thing
from revseg.shapes.view import Question, View, about_property, path_words, size_words, visible_span

TIME_GAP = 1 / 8  # of the video: the least time between two events that a question distinguishes
SPEED_RATIO = 1.5  # at least, between two speeds that a question distinguishes

_MOTION_FACTS = {"still": "stays", "bounce": "turns back"}


def motion(view: View) -> Iterator[Question]:
    """Direction of motion, moving or not, turning back. No question if the motion of any object is in doubt."""
    things = view.things
    if not all(_shows_motion(view, i) for i in range(len(things))):
        return
    motions = [_MOTION_FACTS.get(t.motion, f"moves {t.motion}") for t in things]
    facts = [f"{path_words(view, i)} {words}" for i, words in enumerate(motions)]
    for axis, name in ((0, "left"), (0, "right"), (1, "up"), (1, "down")):
        verdicts = [None if t.motion == "bounce" and t.axis == axis else t.motion == name for t in things]
        yield from about_property("motion", name, verdicts, facts)
    yield from about_property("motion", "still", [t.motion == "still" for t in things], facts)
    yield from about_property("motion", "moves", [t.motion != "still" for t in things], facts)
    yield from about_property("motion", "bounce", [t.motion == "bounce" for t in things], facts)


def _shows_motion(view: View, index: int) -> bool:
    """Whether the motion can be recognised on the frames that show the object.

    It must cover 0.2 of the picture in its direction; one that turns back, 0.15 both ways.
    """
    thing = view.things[index]
    if thing.motion == "still":
        return True
    along = thing.centre[view.ids[view.seen[index]], thing.axis]
    length = (view.scene.world.width, view.scene.world.height)[thing.axis]
    if thing.motion != "bounce":
        return bool(abs(along[-1] - along[0]) >= 0.2 * length)
    reaches = [min(abs(turn - along[0]), abs(along[-1] - turn)) for turn in (along.min(), along.max())]
    return bool(max(reaches) >= 0.15 * length)


def growth(view: View) -> Iterator[Question]:
    """Objects that grow or shrink."""
    facts = [f"{size_words(view, i, *visible_span(view, i))} {t.growth}" for i, t in enumerate(view.things)]
    for name in ("grows", "shrinks"):
        verdicts = [_changes(view, i, t, name) for i, t in enumerate(view.things)]
        yield from about_property("motion", name, verdicts, facts)


def _changes(view: View, index: int, thing: Thing, name: str) -> bool | None:
    """Whether the object grows or shrinks, as `name` says; None if the frames that show it do not show enough of it."""
    if thing.growth != name:
        return False
    sizes = thing.diameter[list(visible_span(view, index))]
    return True if sizes.max() >= 1.4 * sizes.min() else None


def time(view: View) -> Iterator[Question]:
    """Objects that appear after the start or disappear before the end."""
    frames, facts = view.scene.world.frames, _spans(view)
    gap, near = TIME_GAP * frames, frames / 32
    late = [_clear(seen, near, trace, gap) for trace, seen in view.arrives.tolist()]
    gone = [_clear(seen, near, trace, gap) for seen, trace in (frames - 1 - view.goes).tolist()]
    yield from about_property("time", "appears", late, facts)
    yield from about_property("time", "disappears", gone, facts)


def _clear(seen: int, near: float, trace: int, gap: float) -> bool | None:
    """True if no pixel is visible for `gap` frames, False if the object is seen within `near` frames, else None."""
    return True if trace >= gap else False if seen <= near else None


def _spans(view: View) -> list[str]:
    """From when to when each object is seen, in sixteenths of the video: the indices of 16 uniformly sampled frames."""
    spans = [_sixteenths(view, i) for i in range(len(view.things))]
    return [f"from {first} to {last}" for first, last in spans]


def _sixteenths(view: View, index: int) -> tuple[int, int]:
    first, last = visible_span(view, index)
    return first * 16 // view.scene.world.frames, last * 16 // view.scene.world.frames


def arrival(view: View) -> Iterator[Question]:
    """The first or last object to appear, the first to disappear: by `TIME_GAP` before or after all others."""
    count, gap = len(view.things), TIME_GAP * view.scene.world.frames
    arrives, goes = view.arrives.tolist(), view.goes.tolist()
    for i in range(count):
        rest = [o for o in range(count) if o != i]
        margins = {
            "appears_first": min((arrives[o][0] for o in rest), default=0) - arrives[i][1],
            "appears_last": arrives[i][0] - max((arrives[o][1] for o in rest), default=gap * 8),
            "disappears_first": min((goes[o][0] for o in rest), default=0) - goes[i][1],
        }
        for key, margin in margins.items():
            if margin >= gap:
                yield Question("time", key, (i,), tuple(_spans(view)), {}, "time")


def speed(view: View) -> Iterator[Question]:
    """The fastest and the slowest object, by `SPEED_RATIO` in pixels per frame."""
    speeds = [thing.speed for thing in view.things]
    order = sorted(range(len(speeds)), key=lambda i: -speeds[i])
    if len(order) < 2 or not all(_shows_motion(view, i) for i in order):
        return
    if speeds[order[0]] > 0 and speeds[order[0]] >= SPEED_RATIO * speeds[order[1]]:
        words = ["stays" if not v else "fast" if i == order[0] else "slow" for i, v in enumerate(speeds)]
        yield Question("comparison", "fastest", (order[0],), _paces(view, words), {}, "comparison")
    if speeds[order[-1]] > 0 and speeds[order[-2]] >= SPEED_RATIO * speeds[order[-1]]:
        words = ["slow" if i == order[-1] else "fast" for i in range(len(speeds))]
        yield Question("comparison", "slowest", (order[-1],), _paces(view, words), {}, "comparison")


def _paces(view: View, words: list[str]) -> tuple[str, ...]:
    """For each object: its path, in how many sixteenths of the video, and its word."""
    spans = [_sixteenths(view, i) for i in range(len(words))]
    return tuple(f"{path_words(view, i)} for {spans[i][1] - spans[i][0]} {word}" for i, word in enumerate(words))
