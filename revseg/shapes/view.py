"""What is visible of a scene, in pixels and in words, and the `Question`s that it answers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Int64, UInt8

from revseg.shapes.render import label_maps
from revseg.shapes.scene import Scene, Thing

MOST_CHECKED = 64  # frames; of a longer video, evenly spaced ones are checked
PERCENT_STEP = 4  # rounding of places and sizes in a trace: as fine as a small picture shows


@dataclass(frozen=True, eq=False)
class View:
    """What is visible of a scene, on all frames of a short video or on evenly spaced ones of a long one."""

    scene: Scene
    ids: Int64[np.ndarray, " f"]
    seen: Bool[np.ndarray, "o f"]  # enough visible pixels for the object to count as visible
    touched: Bool[np.ndarray, "o f"]  # any visible pixel
    clear: Bool[np.ndarray, "o f"]  # `seen`, and at least half of it is visible
    labels: UInt8[np.ndarray, "f w h"]  # 1 + the index of the visible object, 0 for none

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
    def all_clear(self) -> bool:
        """Whether every object is `clear` on at least a quarter of the frames."""
        return bool((self.clear.mean(1) >= 0.25).all())

    @property
    def arrives(self) -> Int64[np.ndarray, "o 2"]:
        """The first frame on which each object is touched, and the first on which it is seen."""
        return np.stack([self.ids[shown.argmax(1)] for shown in (self.touched, self.seen)], -1)

    @property
    def goes(self) -> Int64[np.ndarray, "o 2"]:
        """The last frame on which each object is seen, and the last on which it is touched."""
        return np.stack([self.ids[::-1][shown[:, ::-1].argmax(1)] for shown in (self.seen, self.touched)], -1)


def windows(view: View) -> dict[str, Bool[np.ndarray, " f"]]:
    """The frames that "at the start" and "at the end" refer to: the first and the last sixteenth of the video."""
    frames = view.scene.world.frames
    return {"start": view.ids <= frames // 16, "end": view.ids >= frames - 1 - frames // 16}


def presence(view: View, window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """bool[o] twice: seen on all frames of the window, touched on any of them."""
    return np.all(view.seen[:, window], axis=1), np.any(view.touched[:, window], axis=1)


def place_words(view: View, index: int, frame: int) -> str:
    """An object's centre in the words of a trace: "24 60" is 24 % of the width and 60 % of the height."""
    sides = np.array([view.scene.world.width, view.scene.world.height])
    x, y = np.clip(_percent(view.things[index].centre[frame] / sides), 0, 100)
    return f"{x} {y}"


def size_words(view: View, index: int, *frames: int) -> str:
    """An object's diameter in percent of the smaller side: "size 16", or "size 16 to 28" for two frames."""
    sizes = _percent(view.things[index].diameter[list(frames)] / view.scene.world.side)
    return "size " + " to ".join(str(size) for size in sizes)


def path_words(view: View, index: int) -> str:
    """An object's centre when it is first seen, half-way and last seen: "24 60 to 40 60 to 56 60"."""
    first, last = visible_span(view, index)
    return " to ".join(place_words(view, index, frame) for frame in (first, (first + last) // 2, last))


def visible_span(view: View, index: int) -> tuple[int, int]:
    """The first and the last frame on which the object is seen."""
    return int(view.arrives[index, 1]), int(view.goes[index, 0])


def _percent(share: np.ndarray) -> np.ndarray:
    """Shares in percent, rounded to `PERCENT_STEP`."""
    return np.round(100 / PERCENT_STEP * share).astype(int) * PERCENT_STEP


@dataclass(frozen=True)
class Question:
    """A question with its answer: `targets` index the scene's objects; `facts` are the evidence, one per object."""

    kind: str
    key: str  # the template of its text
    targets: tuple[int, ...]
    facts: tuple[str, ...]
    slots: Mapping[str, str] = field(default_factory=dict)
    base: str = ""  # the kind that the property belongs to, also where `kind` is "absent" or "several"


def about_property(
    kind: str, key: str, verdicts: Sequence[bool | None], facts: Sequence[str], slots: Mapping[str, str] | None = None
) -> Iterator[Question]:
    """The question about a property, given which objects have it; none at all if a verdict is None, in doubt.

    Its kind is "absent" if no object has the property, "several" if more than one has.
    """
    if any(verdict is None for verdict in verdicts):
        return
    targets = tuple(i for i, verdict in enumerate(verdicts) if verdict)
    shown = "absent" if not targets else kind if len(targets) == 1 else "several"
    if shown != "several" or key != "pair":
        yield Question(shown, key, targets, tuple(facts), slots or {}, kind)
