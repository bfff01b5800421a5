"""All questions about a scene that have one unambiguous answer."""

from collections.abc import Callable, Iterator

from revseg.shapes.events import arrival, growth, motion, speed, time
from revseg.shapes.relations import attribute, behind, nearest, relation, size
from revseg.shapes.view import Question, View

KINDS = ("attribute", "motion", "time", "relation", "comparison", "absent", "several")
NEEDS_TIME = ("motion", "time")  # need a video of at least 8 frames
NEEDS_TWO = ("relation", "comparison", "several")  # need at least two objects


def questions(view: View) -> Iterator[Question]:
    """All questions about the scene with one unambiguous answer."""
    finders: list[Callable[[View], Iterator[Question]]] = [attribute, relation, nearest, size]
    if view.scene.world.frames >= 8:
        finders += [motion, growth, time, arrival, speed, behind]
    for finder in finders:
        yield from finder(view)
