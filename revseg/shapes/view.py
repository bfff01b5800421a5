"""A scene as a viewer sees it, and the question that it answers: what every finder of questions works with."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Int64

from revseg.shapes.render import label_maps
from revseg.shapes.scene import Scene, Thing

MOST_CHECKED = 64  # frames that are looked at in a longer video
TOLD = 4  # the step of places and sizes in a trace, in percent


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

    @property
    def arrives(self) -> Int64[np.ndarray, "o 2"]:
        """The first frame that shows a trace of each thing, and the first that shows enough of it."""
        return np.stack([self.ids[shown.argmax(1)] for shown in (self.touched, self.seen)], -1)

    @property
    def goes(self) -> Int64[np.ndarray, "o 2"]:
        """The last frame that shows enough of each thing, and the last that shows a trace."""
        return np.stack([self.ids[::-1][shown[:, ::-1].argmax(1)] for shown in (self.seen, self.touched)], -1)


def windows(view: View) -> dict[str, Bool[np.ndarray, " f"]]:
    """The frames that "at the start" and "at the end" speak of: a sixteenth of the video."""
    frames = view.scene.world.frames
    return {"start": view.ids <= frames // 16, "end": view.ids >= frames - 1 - frames // 16}


def presence(view: View, window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """bool[o] twice: seen on all frames of the window, touched on any."""
    return np.all(view.seen[:, window], axis=1), np.any(view.touched[:, window], axis=1)


def told_place(view: View, index: int, frame: int) -> str:
    """Where a thing's centre is, as a trace tells it: "24 60" is 24 % of the width and 60 % of the height."""
    sides = np.array([view.scene.world.width, view.scene.world.height])
    x, y = np.clip(_told(view.things[index].centre[frame] / sides), 0, 100)
    return f"{x} {y}"


def told_size(view: View, index: int, *frames: int) -> str:
    """Its diameter in percent of the smaller side: "size 16", or "size 16 to 28" over two frames."""
    sizes = _told(view.things[index].diameter[list(frames)] / view.scene.world.side)
    return "size " + " to ".join(str(size) for size in sizes)


def told_path(view: View, index: int) -> str:
    """Where it is when it is first seen, half-way, and last seen: "24 60 to 40 60 to 56 60"."""
    first, last = life(view, index)
    return " to ".join(told_place(view, index, frame) for frame in (first, (first + last) // 2, last))


def life(view: View, index: int) -> tuple[int, int]:
    """The first and the last frame that show enough of it."""
    return int(view.arrives[index, 1]), int(view.goes[index, 0])


def _told(share: np.ndarray) -> np.ndarray:
    """In percent, in steps of `TOLD`: as fine as a small picture shows."""
    return np.round(100 / TOLD * share).astype(int) * TOLD


@dataclass(frozen=True)
class Question:
    """A question with its answer. `targets` index the scene's things; `facts` say why, one a thing."""

    kind: str
    key: str  # which wording
    targets: tuple[int, ...]
    facts: tuple[str, ...]
    slots: Mapping[str, str] = field(default_factory=dict)
    base: str = ""  # the kind that "absent" and "several" are made of


def judged(
    kind: str, key: str, verdicts: Sequence[bool | None], facts: Sequence[str], slots: Mapping[str, str] | None = None
) -> Iterator[Question]:
    """A property's question: none, one or several things have it; None, a thing in doubt, spoils it."""
    if any(verdict is None for verdict in verdicts):
        return
    targets = tuple(i for i, verdict in enumerate(verdicts) if verdict)
    shown = "absent" if not targets else kind if len(targets) == 1 else "several"
    if shown != "several" or key != "pair":
        yield Question(shown, key, targets, tuple(facts), slots or {}, kind)
