"""Questions about what happens: motion, growth, coming and going, speed."""

from collections.abc import Iterator

from revseg.shapes.scene import Thing
from revseg.shapes.view import Question, View, judged, life, told_path, told_size

TIME_GAP = 1 / 8  # of the video, between two events that a question tells apart
SPEED_RATIO = 1.5


_MOTION_FACTS = {"still": "stays", "bounce": "turns back"}


def motion(view: View) -> Iterator[Question]:
    """Which way, whether at all, and back again. Nothing is asked while the way of any thing is in doubt."""
    things = view.things
    if not all(_shows_motion(view, i) for i in range(len(things))):
        return
    ways = [_MOTION_FACTS.get(t.motion, f"moves {t.motion}") for t in things]
    facts = [f"{told_path(view, i)} {way}" for i, way in enumerate(ways)]
    for axis, name in ((0, "left"), (0, "right"), (1, "up"), (1, "down")):
        verdicts = [None if t.motion == "bounce" and t.axis == axis else t.motion == name for t in things]
        yield from judged("motion", name, verdicts, facts)
    yield from judged("motion", "still", [t.motion == "still" for t in things], facts)
    yield from judged("motion", "moves", [t.motion != "still" for t in things], facts)
    yield from judged("motion", "bounce", [t.motion == "bounce" for t in things], facts)


def _shows_motion(view: View, index: int) -> bool:
    """The frames that show the thing give its motion away: a clear way, and of one that turns both legs of it."""
    thing = view.things[index]
    if thing.motion == "still":
        return True
    along = thing.centre[view.ids[view.seen[index]], thing.axis]
    length = (view.scene.world.width, view.scene.world.height)[thing.axis]
    if thing.motion != "bounce":
        return bool(abs(along[-1] - along[0]) >= 0.2 * length)
    ways = [min(abs(turn - along[0]), abs(along[-1] - turn)) for turn in (along.min(), along.max())]
    return bool(max(ways) >= 0.15 * length)


def growth(view: View) -> Iterator[Question]:
    """What grows, what shrinks."""
    facts = [
        f"{told_size(view, i, *life(view, i))} {t.growth if t.growth != 'same' else 'same'}"
        for i, t in enumerate(view.things)
    ]
    for name in ("grows", "shrinks"):
        verdicts = [_changes(view, i, t, name) for i, t in enumerate(view.things)]
        yield from judged("motion", name, verdicts, facts)


def _changes(view: View, index: int, thing: Thing, name: str) -> bool | None:
    """True only where the part of its life that is seen shows the change."""
    if thing.growth != name:
        return False
    sizes = thing.diameter[list(life(view, index))]
    return True if sizes.max() >= 1.4 * sizes.min() else None


def time(view: View) -> Iterator[Question]:
    """What comes later than the start, what is gone before the end."""
    frames, facts = view.scene.world.frames, _spans(view)
    gap, near = TIME_GAP * frames, frames / 32
    late = [_clear(seen, near, trace, gap) for trace, seen in view.arrives.tolist()]
    gone = [_clear(seen, near, trace, gap) for seen, trace in (frames - 1 - view.goes).tolist()]
    yield from judged("time", "appears", late, facts)
    yield from judged("time", "disappears", gone, facts)


def _clear(seen: int, near: float, trace: int, gap: float) -> bool | None:
    """True when not even a trace is there for a long time, False when enough is there almost at once."""
    return True if trace >= gap else False if seen <= near else None


def _spans(view: View) -> list[str]:
    """When each thing is seen, in sixteenths of the video: what sixteen uniform frames show."""
    spans = [_sixteenths(view, i) for i in range(len(view.things))]
    return [f"from {first} to {last}" for first, last in spans]


def _sixteenths(view: View, index: int) -> tuple[int, int]:
    first, last = life(view, index)
    return first * 16 // view.scene.world.frames, last * 16 // view.scene.world.frames


def arrival(view: View) -> Iterator[Question]:
    """Who is first or last to come or go: enough of it before any trace of the next."""
    count, gap = len(view.things), TIME_GAP * view.scene.world.frames
    arrives, goes = view.arrives.tolist(), view.goes.tolist()
    for i in range(count):
        rest = [o for o in range(count) if o != i]
        won = {
            "appears_first": min((arrives[o][0] for o in rest), default=0) - arrives[i][1],
            "appears_last": arrives[i][0] - max((arrives[o][1] for o in rest), default=gap * 8),
            "disappears_first": min((goes[o][0] for o in rest), default=0) - goes[i][1],
        }
        for key, ahead in won.items():
            if ahead >= gap:
                yield Question("time", key, (i,), tuple(_spans(view)), {}, "time")


def speed(view: View) -> Iterator[Question]:
    """Fastest and slowest by far, in pixels a frame."""
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
    """How far each thing goes in how many sixteenths of the video."""
    spans = [_sixteenths(view, i) for i in range(len(words))]
    return tuple(f"{told_path(view, i)} for {spans[i][1] - spans[i][0]} {word}" for i, word in enumerate(words))
