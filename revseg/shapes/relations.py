"""Questions about attributes, sizes, and where objects are relative to one another."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from revseg.shapes.render import FORMS, placed
from revseg.shapes.scene import COLOURS
from revseg.shapes.view import Question, View, about_property, place_words, presence, size_words, visible_span, windows

SIZE_RATIO = 1.3  # at least, between two sizes that a question distinguishes
APART = 0.12  # of the smaller side: the least distance between two centres that a question distinguishes


def attribute(view: View) -> Iterator[Question]:
    """By colour, by form, by both. An absent pair is a hard negative: its colour or its form occurs."""
    things, nothing = view.things, [""] * len(view.things)
    colours, forms = {t.colour for t in things}, {t.form for t in things}
    known = view.scene.world.forms or tuple(FORMS)
    for colour in COLOURS:
        yield from about_property(
            "attribute", "colour", [t.colour == colour for t in things], nothing, {"colour": colour}
        )
        for form in known:
            if colour in colours or form in forms:
                verdicts = [(t.colour, t.form) == (colour, form) for t in things]
                yield from about_property("attribute", "pair", verdicts, nothing, {"colour": colour, "form": form})
    for form in known:
        yield from about_property("attribute", "form", [t.form == form for t in things], nothing, {"form": form})


def size(view: View) -> Iterator[Question]:
    """The largest and the smallest object: in the whole video, among one form, at the start and at the end."""
    things = range(len(view.things))
    yield from _sizes(view, "", things, np.ones(len(view.ids), bool))
    for form in sorted({t.form for t in view.things}):
        same = [i for i in things if view.things[i].form == form]
        yield from _sizes(view, "_form", same, np.ones(len(view.ids), bool), {"form": form})
    if view.scene.world.frames >= 8:
        for name, window in windows(view).items():
            seen, touched = presence(view, window)
            if (seen == touched).all():
                yield from _sizes(view, f"_{name}", np.flatnonzero(seen).tolist(), window)


def _sizes(
    view: View, suffix: str, among: Sequence[int], window: np.ndarray, slots: Mapping[str, str] | None = None
) -> Iterator[Question]:
    """The largest and the smallest: by `SIZE_RATIO`, whichever of the window's frames are compared."""
    spans = {i: view.things[i].diameter[view.ids[window & view.seen[i]]] for i in among}
    for key, sign in (("largest", 1), ("smallest", -1)):
        for i in among:
            rest = [spans[o] for o in among if o != i]
            mine, others = (spans[i].min(), max((s.max() for s in rest), default=0.0))
            if sign < 0:
                mine, others = (min((s.min() for s in rest), default=0.0), spans[i].max())
            if rest and mine >= SIZE_RATIO * others:
                own, other = ("large", "small") if sign > 0 else ("small", "large")
                frames = [
                    visible_span(view, o) if window.all() else _ends(view, window) for o in range(len(view.things))
                ]
                facts = [
                    "other" if o not in among else f"{size_words(view, o, *frames[o])} {own if o == i else other}"
                    for o in range(len(view.things))
                ]
                yield Question("comparison", key + suffix, (i,), tuple(facts), slots or {}, "comparison")


def _ends(view: View, window: np.ndarray) -> tuple[int]:
    """The frame that stands for a window: the video's first or last."""
    return (int(view.ids[0] if window[0] else view.ids[-1]),)


def relation(view: View) -> Iterator[Question]:
    """Left of, right of, above, below another object, at the start or at the end."""
    side = view.scene.world.side
    for time, window in windows(view).items():
        seen, touched = presence(view, window)
        where = [t.centre[view.ids[window]] for t in view.things]
        places = _places(view, window, touched)
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
                    f"{places[i]} {words[int(a[0] * sign < 0)] if i != index and touched[i] else ''}".strip()
                    for i, a in enumerate(ahead)
                ]
                yield from about_property("relation", key, verdicts, facts, {"thing": thing.name, "time": time})


def _places(view: View, window: np.ndarray, there: np.ndarray) -> list[str]:
    """Where each object is on the frame that stands for the window."""
    (frame,) = _ends(view, window)
    return [place_words(view, i, frame) if there[i] else "is not there" for i in range(len(view.things))]


def _beyond(ahead: np.ndarray, side: int) -> bool | None:
    """Whether an object is ahead by `APART` on all frames; False if behind by half of it on all, else None."""
    return True if ahead.min() >= APART * side else False if ahead.max() <= -APART / 2 * side else None


def nearest(view: View) -> Iterator[Question]:
    """Nearest to another object, by 1.4 times and `APART`, at the start or at the end."""
    side = view.scene.world.side
    for time, window in windows(view).items():
        seen, touched = presence(view, window)
        if (seen != touched).any():
            continue
        where = [t.centre[view.ids[window]] for t in view.things]
        places = _places(view, window, touched)
        there = np.flatnonzero(seen).tolist()
        for index in there:
            away = {i: np.hypot(*(where[i] - where[index]).T) for i in there if i != index}
            order = sorted(away, key=lambda i: away[i].mean())
            if len(order) < 2:
                continue
            nearest, next_ = away[order[0]].max(), away[order[1]].min()
            if next_ >= 1.4 * nearest and next_ - nearest >= APART * side:
                words = {i: " is near" if i == order[0] else " is far" for i in order}
                facts = [f"{place}{words.get(i, '')}" for i, place in enumerate(places)]
                slots = {"thing": view.things[index].name, "time": time}
                yield Question("relation", "nearest", (order[0],), tuple(facts), slots, "relation")


def behind(view: View) -> Iterator[Question]:
    """Passing behind another object: half hidden by it on some frame, and not behind it on most."""
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
            yield from about_property("relation", "behind", verdicts, facts, {"thing": view.things[front].name})


def _passes(share: np.ndarray) -> bool | None:
    """True if half is hidden on some frame and more than 3 % on at most 60 % of the frames, else None: in doubt."""
    return True if share.max() >= 0.5 and (share > 0.03).mean() <= 0.6 else None
