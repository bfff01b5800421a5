"""Which questions a scene answers beyond doubt: every margin that makes an answer unique is in this file."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Int64

from revseg.datasets.shapes_render import FORMS, label_maps, placed
from revseg.datasets.shapes_scene import COLOURS, Scene, Thing

KINDS = ("attribute", "motion", "time", "relation", "comparison", "absent", "several")
NEEDS_TIME = ("motion", "time")
NEEDS_TWO = ("relation", "comparison", "several")
TIME_GAP = 1 / 8  # of the video, between two events that a question tells apart
SPEED_RATIO = 1.5
SIZE_RATIO = 1.3
APART = 0.12  # of the smaller side, between two centres that a question tells apart
MOST_CHECKED = 64  # frames that are looked at in a longer video


@dataclass(frozen=True, eq=False)
class View:
    """A scene as it is seen, on all frames of a short video and on evenly spaced ones of a long one."""

    scene: Scene
    ids: Int64[np.ndarray, " f"]
    seen: Bool[np.ndarray, "o f"]  # enough visible pixels to count
    touched: Bool[np.ndarray, "o f"]  # any visible pixel
    clear: Bool[np.ndarray, "o f"]  # at least half of it, if that is enough to count
    labels: np.ndarray

    @staticmethod
    def of(scene: Scene) -> "View":
        frames = scene.world.frames
        ids = np.unique(np.linspace(0, frames - 1, min(frames, MOST_CHECKED)).round().astype(np.int64))
        labels, areas, whole = label_maps(scene, ids)
        least = max(4.0, 0.0015 * scene.world.height * scene.world.width * min(scene.world.scale, 1.0) ** 2)
        seen = areas >= least
        return View(scene, ids, seen, areas > 0, seen & (2 * areas >= whole), labels)

    @property
    def things(self) -> tuple[Thing, ...]:
        return self.scene.things

    @property
    def lively(self) -> bool:
        """Every thing is clear to see on at least a quarter of the frames."""
        return bool((self.clear.mean(1) >= 0.25).all())

    def first(self, thing: int) -> int:
        return int(self.ids[self.seen[thing].argmax()])

    def last(self, thing: int) -> int:
        return int(self.ids[::-1][self.seen[thing][::-1].argmax()])


@dataclass(frozen=True)
class Question:
    """A question with its answer. `targets` index the scene's things; `facts` say why, one a thing."""

    kind: str
    key: str  # which wording
    targets: tuple[int, ...]
    facts: tuple[str, ...]
    slots: Mapping[str, str] = field(default_factory=dict)
    base: str = ""  # the kind that "absent" and "several" are made of


def questions(view: View) -> Iterator[Question]:
    """All questions with one sure answer."""
    finders: list[Callable[[View], Iterator[Question]]] = [_attribute, _relation, _nearest, _size]
    if view.scene.world.frames >= 8:
        finders += [_motion, _growth, _time, _arrival, _speed, _behind]
    for finder in finders:
        yield from finder(view)


def _judged(
    kind: str, key: str, verdicts: Sequence[bool | None], facts: Sequence[str], slots: Mapping[str, str] | None = None
) -> Iterator[Question]:
    """A property's question: none, one or several things have it; None, a thing in doubt, spoils it."""
    if any(verdict is None for verdict in verdicts):
        return
    targets = tuple(i for i, verdict in enumerate(verdicts) if verdict)
    shown = "absent" if not targets else kind if len(targets) == 1 else "several"
    if shown != "several" or key != "pair":
        yield Question(shown, key, targets, tuple(facts), slots or {}, kind)


def _best(
    kind: str,
    key: str,
    values: Mapping[int, float],
    ratio: float,
    facts: Sequence[str],
    slots: Mapping[str, str] | None = None,
) -> Iterator[Question]:
    """A superlative's question: the thing whose value is `ratio` times any other's."""
    order = sorted(values, key=lambda i: -values[i])
    if len(order) >= 2 and values[order[0]] >= ratio * values[order[1]]:
        yield Question(kind, key, (order[0],), tuple(facts), slots or {}, kind)


def _attribute(view: View) -> Iterator[Question]:
    things, nothing = view.things, [""] * len(view.things)
    colours, forms = {t.colour for t in things}, {t.form for t in things}
    known = view.scene.world.forms or tuple(FORMS)
    for colour in COLOURS:
        yield from _judged("attribute", "colour", [t.colour == colour for t in things], nothing, {"colour": colour})
        for form in known:
            if colour in colours or form in forms:  # an absent pair is a near miss
                verdicts = [(t.colour, t.form) == (colour, form) for t in things]
                yield from _judged("attribute", "pair", verdicts, nothing, {"colour": colour, "form": form})
    for form in known:
        yield from _judged("attribute", "form", [t.form == form for t in things], nothing, {"form": form})


_MOTION_FACTS = {"still": "stays", "bounce": "turns back"}


def _motion(view: View) -> Iterator[Question]:
    things = view.things
    if not all(_shows_motion(view, i) for i in range(len(things))):
        return
    facts = [_MOTION_FACTS.get(t.motion, f"moves {t.motion}") for t in things]
    for axis, name in ((0, "left"), (0, "right"), (1, "up"), (1, "down")):
        verdicts = [None if t.motion == "bounce" and t.axis == axis else t.motion == name for t in things]
        yield from _judged("motion", name, verdicts, facts)
    yield from _judged("motion", "still", [t.motion == "still" for t in things], facts)
    yield from _judged("motion", "moves", [t.motion != "still" for t in things], facts)
    yield from _judged("motion", "bounce", [t.motion == "bounce" for t in things], facts)


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


def _growth(view: View) -> Iterator[Question]:
    facts = [t.growth if t.growth != "same" else "same size" for t in view.things]
    for name in ("grows", "shrinks"):
        verdicts = [_changes(view, i, t, name) for i, t in enumerate(view.things)]
        yield from _judged("motion", name, verdicts, facts)


def _changes(view: View, index: int, thing: Thing, name: str) -> bool | None:
    """True only where the part of its life that is seen shows the change."""
    if thing.growth != name:
        return False
    sizes = thing.diameter[[view.first(index), view.last(index)]]
    return True if sizes.max() >= 1.4 * sizes.min() else None


def _time(view: View) -> Iterator[Question]:
    frames, count = view.scene.world.frames, range(len(view.things))
    facts = _spans(view)
    gap, near = TIME_GAP * frames, frames / 32
    late = [_clear(view.first(i), near, gap) for i in count]
    gone = [_clear(frames - 1 - view.last(i), near, gap) for i in count]
    yield from _judged("time", "appears", late, facts)
    yield from _judged("time", "disappears", gone, facts)


def _clear(value: float, no: float, yes: float) -> bool | None:
    return True if value >= yes else False if value <= no else None


def _spans(view: View) -> list[str]:
    """When each thing is seen, in sixteenths of the video: what sixteen uniform frames show."""
    frames = view.scene.world.frames
    return [f"from {view.first(i) * 16 // frames} to {view.last(i) * 16 // frames}" for i in range(len(view.things))]


def _arrival(view: View) -> Iterator[Question]:
    frames, facts = view.scene.world.frames, _spans(view)
    first = sorted((view.first(i), i) for i in range(len(view.things)))
    last = sorted((view.last(i), i) for i in range(len(view.things)))
    gap = TIME_GAP * frames
    if len(first) < 2:
        return
    if first[1][0] - first[0][0] >= gap:
        yield Question("time", "appears_first", (first[0][1],), tuple(facts), {}, "time")
    if first[-1][0] - first[-2][0] >= gap:
        yield Question("time", "appears_last", (first[-1][1],), tuple(facts), {}, "time")
    if last[1][0] - last[0][0] >= gap:
        yield Question("time", "disappears_first", (last[0][1],), tuple(facts), {}, "time")


def _speed(view: View) -> Iterator[Question]:
    speeds = {i: t.speed for i, t in enumerate(view.things)}
    best, least = max(speeds.values()), min(speeds.values())
    fast = ["stays" if not v else "fast" if v == best else "slow" for v in speeds.values()]
    if best > 0:
        yield from _best("comparison", "fastest", speeds, SPEED_RATIO, fast)
    if least > 0:
        slow = ["slow" if v == least else "fast" for v in speeds.values()]
        yield from _best("comparison", "slowest", {i: 1 / v for i, v in speeds.items()}, SPEED_RATIO, slow)


def _size(view: View) -> Iterator[Question]:
    things = range(len(view.things))
    yield from _sizes(view, "", things, np.ones(len(view.ids), bool))
    for form in {t.form for t in view.things}:
        same = [i for i in things if view.things[i].form == form]
        yield from _sizes(view, "_form", same, np.ones(len(view.ids), bool), {"form": form})
    if view.scene.world.frames >= 8:
        for name, window in _windows(view).items():
            seen, touched = _presence(view, window)
            if (seen == touched).all():
                yield from _sizes(view, f"_{name}", np.flatnonzero(seen).tolist(), window)


def _sizes(
    view: View, suffix: str, among: Sequence[int], window: np.ndarray, slots: Mapping[str, str] | None = None
) -> Iterator[Question]:
    """Largest and smallest: by far, whichever of the window's frames are compared."""
    spans = {i: view.things[i].diameter[view.ids[window & view.seen[i]]] for i in among}
    for key, sign in (("largest", 1), ("smallest", -1)):
        for i in among:
            rest = [spans[o] for o in among if o != i]
            mine, others = (spans[i].min(), max((s.max() for s in rest), default=0.0))
            if sign < 0:
                mine, others = (min((s.min() for s in rest), default=0.0), spans[i].max())
            if rest and mine >= SIZE_RATIO * others:
                own, other = ("large", "small") if sign > 0 else ("small", "large")
                facts = ["other" if o not in among else own if o == i else other for o in range(len(view.things))]
                yield Question("comparison", key + suffix, (i,), tuple(facts), slots or {}, "comparison")


def _windows(view: View) -> dict[str, Bool[np.ndarray, " f"]]:
    """The frames that "at the start" and "at the end" speak of: a sixteenth of the video."""
    frames = view.scene.world.frames
    return {"start": view.ids <= frames // 16, "end": view.ids >= frames - 1 - frames // 16}


def _presence(view: View, window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """bool[o] twice: seen on all frames of the window, touched on any."""
    return np.all(view.seen[:, window], axis=1), np.any(view.touched[:, window], axis=1)


def _relation(view: View) -> Iterator[Question]:
    side = view.scene.world.side
    for time, window in _windows(view).items():
        seen, touched = _presence(view, window)
        where = [t.centre[view.ids[window]] for t in view.things]
        for index, thing in enumerate(view.things):
            if not seen[index]:
                continue
            for key, axis, sign in (("left_of", 0, 1), ("right_of", 0, -1), ("above", 1, 1), ("below", 1, -1)):
                ahead = [sign * (where[index] - w)[:, axis] for w in where]
                verdicts = [
                    False if i == index or not touched[i] else None if not seen[i] else _beyond(a, side)
                    for i, a in enumerate(ahead)
                ]
                words = (("is left", "is right"), ("is above", "is below"))[axis]
                facts = [
                    "is not there" if not touched[i] else words[int(a[0] * sign < 0)] if i != index else ""
                    for i, a in enumerate(ahead)
                ]
                yield from _judged("relation", key, verdicts, facts, {"thing": thing.name, "time": time})


def _beyond(ahead: np.ndarray, side: int) -> bool | None:
    return True if ahead.min() >= APART * side else False if ahead.max() <= -APART / 2 * side else None


def _nearest(view: View) -> Iterator[Question]:
    side = view.scene.world.side
    for time, window in _windows(view).items():
        seen, touched = _presence(view, window)
        if (seen != touched).any():
            continue
        where = [t.centre[view.ids[window]] for t in view.things]
        there = np.flatnonzero(seen).tolist()
        for index in there:
            away = {i: np.hypot(*(where[i] - where[index]).T) for i in there if i != index}
            order = sorted(away, key=lambda i: away[i].mean())
            if len(order) < 2:
                continue
            nearest, next_ = away[order[0]].max(), away[order[1]].min()
            if next_ >= 1.4 * nearest and next_ - nearest >= APART * side:
                words = {i: "is near" if i == order[0] else "is far" for i in order}
                facts = ["" if i == index else words.get(i, "is not there") for i in range(len(view.things))]
                slots = {"thing": view.things[index].name, "time": time}
                yield Question("relation", "nearest", (order[0],), tuple(facts), slots, "relation")


def _behind(view: View) -> Iterator[Question]:
    """Passing behind: half of it hidden by the other at some time, and clear of it on most frames."""
    world, count = view.scene.world, len(view.things)
    hidden = np.zeros((count, count, len(view.ids)))
    for index, thing in enumerate(view.things):
        for at, rows, columns, cut in placed(thing, (world.height, world.width), view.ids):
            over = view.labels[at, columns, rows].T[cut]
            hidden[index, :, at] = np.bincount(over, minlength=count + 1)[1 : count + 1] / max(over.size, 1)
    for front in range(count):
        share = hidden[:, front]
        verdicts = [False if i == front or share[i].max() <= 0.03 else _passes(share[i]) for i in range(count)]
        if any(verdicts):
            facts = ["in front" if i == front else "behind" if v else "other" for i, v in enumerate(verdicts)]
            yield from _judged("relation", "behind", verdicts, facts, {"thing": view.things[front].name})


def _passes(share: np.ndarray) -> bool | None:
    return True if share.max() >= 0.5 and (share > 0.03).mean() <= 0.6 else None
