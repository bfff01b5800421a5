"""Which questions a scene answers beyond doubt: the kinds there are, and where each is found."""

from collections.abc import Callable, Iterator

from revseg.shapes.events import arrival, growth, motion, speed, time
from revseg.shapes.relations import attribute, behind, nearest, relation, size
from revseg.shapes.view import Question, View

KINDS = ("attribute", "motion", "time", "relation", "comparison", "absent", "several")
NEEDS_TIME = ("motion", "time")
NEEDS_TWO = ("relation", "comparison", "several")


def questions(view: View) -> Iterator[Question]:
    """All questions with one sure answer."""
    finders: list[Callable[[View], Iterator[Question]]] = [attribute, relation, nearest, size]
    if view.scene.world.frames >= 8:
        finders += [motion, growth, time, arrival, speed, behind]
    for finder in finders:
        yield from finder(view)
