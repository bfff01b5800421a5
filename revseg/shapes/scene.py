"""Scenes of the synthetic world: the things in them, how they move, grow, appear and disappear."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

COLOURS = {
    "red": (225, 30, 35),
    "green": (30, 175, 50),
    "blue": (40, 70, 240),
    "yellow": (245, 225, 45),
    "purple": (150, 45, 200),
    "orange": (250, 135, 15),
    "cyan": (45, 215, 225),
    "white": (252, 252, 252),
}
# Other hues under the same names, held out of training: they test whether colour words generalise.
UNSEEN_COLOURS = {
    "red": (170, 15, 70),
    "green": (130, 225, 60),
    "blue": (80, 115, 250),
    "yellow": (205, 185, 90),
    "purple": (195, 120, 235),
    "orange": (225, 150, 95),
    "cyan": (20, 150, 165),
    "white": (222, 228, 240),
}


@dataclass(frozen=True)
class World:
    """The options of scenes. Sizes of things are drawn as shares of the smaller side."""

    frames: int = 32
    height: int = 112
    width: int = 112
    objects: tuple[int, int] = (2, 4)  # fewest and most
    forms: tuple[str, ...] = ()
    colours: str = "seen"
    speed: float = 1.0
    scale: float = 1.0
    brief: float = 0.5  # share of things that appear late or disappear early

    @property
    def side(self) -> int:
        return min(self.height, self.width)


@dataclass(frozen=True, eq=False)
class Thing:
    """One object of a scene and its trajectory, in pixels. It is drawn on the frames where it is `present`."""

    colour: str
    form: str
    centre: Float64[np.ndarray, "t 2"]  # x, y
    diameter: Float64[np.ndarray, " t"]
    present: Bool[np.ndarray, " t"]
    motion: str  # still, left, right, up, down, or bounce
    axis: int  # 0: along x, 1: along y
    growth: str  # same, grows or shrinks
    speed: float  # pixels per frame along its axis

    @property
    def name(self) -> str:
        return f"{self.colour} {self.form}"


@dataclass(frozen=True, eq=False)
class Scene:
    """Things in depth order, nearest first."""

    world: World
    things: tuple[Thing, ...]


def sample_scene(rng: np.random.Generator, world: World) -> Scene:
    """A random scene. No two of its things share both colour and form."""
    low, high = world.objects
    count = int(rng.integers(low, high + 1))
    pairs = rng.permutation(len(COLOURS) * len(world.forms))[:count]
    names = list(COLOURS)
    return Scene(
        world,
        tuple(_thing(rng, world, names[p % len(names)], world.forms[p // len(names)]) for p in pairs.tolist()),
    )


def _thing(rng: np.random.Generator, world: World, colour: str, form: str) -> Thing:
    start, stop = _presence(rng, world)
    times = np.arange(world.frames)
    progress = np.clip((times - start) / max(stop - 1 - start, 1), 0.0, 1.0)
    growth, diameter = _growth(rng, world, progress)
    full_time = start == 0 and stop == world.frames
    motion, axis, centre, speed = _motion(rng, world, progress, float(diameter.max()), full_time)
    present = (times >= start) & (times < stop)
    return Thing(colour, form, centre, diameter, present, motion, axis, growth, speed / max(stop - 1 - start, 1))


def _presence(rng: np.random.Generator, world: World) -> tuple[int, int]:
    """The first frame and the one after the last; a share of `brief` appears late or disappears early."""
    frames, draw = world.frames, rng.random()
    late = round(frames * rng.uniform(0.2, 0.6))
    early = round(frames * rng.uniform(0.4, 0.8))
    if draw < 1 - world.brief or frames < 8:
        return 0, frames
    return (late, frames) if draw < 1 - world.brief / 2 else (0, early)


def _growth(
    rng: np.random.Generator, world: World, progress: Float64[np.ndarray, " t"]
) -> tuple[str, Float64[np.ndarray, " t"]]:
    draw, share, small, ratio = rng.random(), rng.uniform(0.15, 0.33), rng.uniform(0.13, 0.18), rng.uniform(1.6, 2.3)
    unit = world.side * world.scale
    if draw < 0.56 or world.frames < 8:
        growth, diameter = "same", np.full(world.frames, share)
    else:
        growth = "grows" if draw < 0.78 else "shrinks"
        along = progress if growth == "grows" else 1.0 - progress
        diameter = small * (1.0 + (ratio - 1.0) * along)
    return growth, np.maximum(diameter * unit, 4.0)


Path = Callable[[np.random.Generator, float, float, float, np.ndarray], tuple[np.ndarray, float]]


def _motion(
    rng: np.random.Generator, world: World, progress: np.ndarray, diameter: float, full_time: bool
) -> tuple[str, int, np.ndarray, float]:
    """Motion, axis, centres [t 2] and pixels travelled along the axis while present."""
    sides = (float(world.width), float(world.height))
    axis, backwards = int(rng.integers(2)), bool(rng.integers(2))
    draw = rng.random()
    centre = np.stack([rng.uniform(diameter / 2, side - diameter / 2) + 0.0 * progress for side in sides], -1)
    if draw < 0.27 or world.frames < 8:
        return "still", axis, centre, 0.0
    path: Path = _bounce if draw < 0.4 else _line
    if draw >= 0.82 and full_time:
        path = _leave if draw < 0.91 else _enter
    length = sides[axis]
    distance = length * float(np.exp(rng.uniform(np.log(0.3), np.log(0.85)))) * world.speed
    if path is _line and distance > length - diameter:
        path = _leave if full_time and rng.random() < 0.5 else _bounce
    along, travelled = path(rng, length, diameter, distance, progress)
    centre[:, axis] = length - along if backwards else along
    other = 1 - axis
    if path is not _bounce:
        drift = rng.uniform(-0.2, 0.2) * min(travelled, length) * progress
        centre[:, other] = np.clip(centre[:, other] + drift, diameter / 2, sides[other] - diameter / 2)
    names = (("right", "left"), ("down", "up"))[axis]
    return "bounce" if path is _bounce else names[backwards], axis, centre, travelled


def _line(
    rng: np.random.Generator, length: float, diameter: float, distance: float, progress: np.ndarray
) -> tuple[np.ndarray, float]:
    start = diameter / 2 + rng.uniform(0.0, length - diameter - distance)
    return start + distance * progress, distance


def _bounce(
    rng: np.random.Generator, length: float, diameter: float, distance: float, progress: np.ndarray
) -> tuple[np.ndarray, float]:
    """To a border and back by at least 0.3 of the picture; faster things may turn back several times."""
    room = length - diameter
    start = rng.uniform(0.0, 0.6 * room)
    distance = room - start + max(distance, 0.3 * length)
    folded = (start + distance * progress) % (2 * room)
    return diameter / 2 + np.minimum(folded, 2 * room - folded), distance


def _leave(
    rng: np.random.Generator, length: float, diameter: float, distance: float, progress: np.ndarray
) -> tuple[np.ndarray, float]:
    start = diameter / 2 + rng.uniform(0.0, 0.6) * (length - diameter)
    distance = (length + diameter / 2 + 1.0 - start) / rng.uniform(0.45, 0.8)
    return start + distance * progress, distance


def _enter(
    rng: np.random.Generator, length: float, diameter: float, distance: float, progress: np.ndarray
) -> tuple[np.ndarray, float]:
    along, travelled = _leave(rng, length, diameter, distance, 1.0 - progress)
    return length - along, travelled
