"""The synthetic world `shapes`: short videos of moving forms, questions about them, exact masks; endless and seeded."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from revseg.errors import InputError
from revseg.masks import MaskTrack
from revseg.shapes.options import between, one_of, shares
from revseg.shapes.queries import KINDS, questions
from revseg.shapes.render import FORMS, UNSEEN_FORMS, Look, Painter, true_masks
from revseg.shapes.scene import COLOURS, Scene, World, sample_scene
from revseg.shapes.view import Question, View
from revseg.shapes.wording import VOCABULARY, WORDINGS, phrase, trace
from revseg.types import Query, Sample
from revseg.video import Video

__all__ = ["KINDS", "VOCABULARY", "Shapes", "render_mp4"]

SPLITS = ("train", "validation", "test")
ATTEMPTS = 400


class Shapes:
    """A sequence of `Sample`s, item i made from (split, seed, i) alone: any item without the others, none held.

    Splits are disjoint by construction: each has a random stream of its own (NumPy's spawn keys).

    Shifts change what is drawn or written and leave the scenes of the same seed as they are, so that figures with and
    without one are paired: `wording`, `noise`, `compression`, `background` and `colours`. `forms`, `speed`, `scale`,
    `brief`, `objects` and the sizes make other scenes.

    Options:
        size: number of samples.
        split: "train", "validation" or "test".
        seed: another seed, other samples.
        frames, height, width: of every video; at least 1 and 16 and 16.
        objects: fewest and most things in a scene, at most 8.
        kinds: the kinds of question wanted, of `KINDS`; None for all that so many frames allow.
        mix: share of each kind, e.g. {"absent": 1, "motion": 3}; needs not sum to one. Overrides `kinds`.
        fps: nominal frames a second.
        speed, scale: factors on all motion and on all sizes.
        brief: share of things that are there for a part of the video only, in [0, 1].
        colours: "seen", or "unseen" for other hues under the same names.
        forms: "seen", or "unseen" for held-out forms with names of their own (which `VOCABULARY` holds).
        wording: "plain" or "reworded".
        background: "plain" or "texture".
        noise: standard deviation of Gaussian pixel noise as a share of white, in [0, 1].
        compression: JPEG quality 1 (worst) to 100 that each frame has been through; None for none.

    A sample's `meta` holds "kind", "key" (which question), "targets" (indices of the things asked for),
    "descriptions" (of each target, such as "red circle"), "thinking" (a short trace in the words of `VOCABULARY`: of
    every thing what the question turns on, places and sizes in percent, times in sixteenths of the video, then the
    verdict) and "objects" (what every thing is and does). The truth has one row a target, or one empty row when the
    answer is "not there". Targets, and things in the trace, stand in the order of their colours, then forms, as the
    world lists them: an order that can be seen on any frame.
    """

    def __init__(
        self,
        *,
        size: int = 256,
        split: str = "train",
        seed: int = 0,
        frames: int = 32,
        height: int = 112,
        width: int = 112,
        objects: Sequence[int] = (2, 4),
        kinds: Sequence[str] | None = None,
        mix: Mapping[str, float] | None = None,
        fps: float = 8.0,
        speed: float = 1.0,
        scale: float = 1.0,
        brief: float = 0.5,
        colours: str = "seen",
        forms: str = "seen",
        wording: str = "plain",
        background: str = "plain",
        noise: float = 0.0,
        compression: int | None = None,
    ) -> None:
        one_of("split", split, SPLITS)
        one_of("colours", colours, ("seen", "unseen"))
        one_of("forms", forms, ("seen", "unseen"))
        one_of("wording", wording, tuple(WORDINGS))
        one_of("background", background, ("plain", "texture"))
        between("size", size, 0, float("inf"))
        between("frames", frames, 1, float("inf"))
        between("height", height, 16, float("inf"))
        between("width", width, 16, float("inf"))
        between("speed", speed, 0.1, 10)
        between("scale", scale, 0.1, 2)
        between("brief", brief, 0, 1)
        between("noise", noise, 0, 1)
        between("compression", 100 if compression is None else compression, 1, 100)
        if len(objects) != 2 or not 1 <= objects[0] <= objects[1] <= 8:
            raise InputError(f"expected objects=[fewest, most] within 1..8, got {objects!r}")
        self.size, self.split, self.seed, self.fps, self.wording = size, split, seed, fps, wording
        known = tuple(FORMS if forms == "seen" else UNSEEN_FORMS)
        counts = (int(objects[0]), int(objects[1]))
        self.world = World(frames, height, width, counts, known, colours, speed, scale, brief)
        self.mix = shares(kinds, mix, self.world)
        self.look = Look(background, noise, compression)

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(self.size))

    def __getitem__(self, index: int) -> Sample:
        if not -self.size <= index < self.size:
            raise IndexError(f"sample {index} of {self.size}")
        index %= self.size
        key = (SPLITS.index(self.split), index)
        content, words, paint = (
            np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(*key, part))) for part in range(3)
        )
        scene, question = self._find(content)
        painter = Painter(scene, self.look, _shade(paint, scene), int(paint.integers(2**31)))
        name = f"shapes-{self.split}-{self.seed}-{index}"
        size = (self.world.height, self.world.width)
        video = Video(name, size, self.fps, self.world.frames, painter)
        return self._asked(video, f"{name}-query", question, words)

    def asides(self, sample: Sample, rng: np.random.Generator, count: int) -> list[Sample]:
        """At most `count` other questions about the scene of a sample of this world, kinds as equal as there are."""
        scene = scene_of(sample)
        texts, found = {sample.query.text}, list(questions(View.of(scene)))
        more: list[Sample] = []
        while found and len(more) < count:
            some = _some(rng, found, [q.kind for q in found])
            some = _some(rng, some, [q.key for q in some])
            picked = some[int(rng.integers(len(some)))]
            found = [q for q in found if q is not picked]
            aside = self._asked(sample.video, f"{sample.query.id}-{len(more)}", picked, rng)
            if picked.kind in self.mix and aside.query.text not in texts:
                texts.add(aside.query.text)
                more.append(aside)
        return more

    def _asked(self, video: Video, name: str, question: Question, rng: np.random.Generator) -> Sample:
        """The sample of one question about a video of this world."""
        assert isinstance(video.reader, Painter)
        scene = video.reader.scene
        text = phrase(self.wording, question.key, question.slots, question.kind == "several")
        if len(question.targets) == 2 and text.startswith("all ") and rng.random() < 0.5:
            text = "both " + text.removeprefix("all ")
        if question.targets:
            truth = true_masks(scene, by_name(scene, question.targets))
        else:
            truth = MaskTrack.empty(video.size, np.arange(video.length))
        return Sample(video, Query(name, text), truth, _meta(scene, question))

    def _find(self, rng: np.random.Generator) -> tuple[Scene, Question]:
        """A scene and a question of a kind drawn first, so that hard-won kinds are as frequent as asked."""
        kind = str(rng.choice(list(self.mix), p=list(self.mix.values())))
        for _ in range(ATTEMPTS):
            view = View.of(sample_scene(rng, self.world))
            found = [q for q in questions(view) if q.kind == kind] if view.lively else []
            if found:
                found = _some(rng, found, [q.base for q in found])
                found = _some(rng, found, [q.key for q in found])
                return view.scene, found[int(rng.integers(len(found)))]
        raise InputError(
            f"found no scene for a question of kind {kind!r} in {ATTEMPTS} attempts: "
            f"allow more objects or frames, a smaller scale, or leave that kind out"
        )


def _some(rng: np.random.Generator, found: list[Question], groups: list[str]) -> list[Question]:
    """The questions of one group, each group as likely as the next."""
    names = sorted(set(groups))
    name = names[int(rng.integers(len(names)))]
    return [question for question, group in zip(found, groups, strict=True) if group == name]


def scene_of(sample: Sample) -> Scene:
    """What is in a sample's video. InputError for a sample of another dataset."""
    painter = sample.video.reader
    if not isinstance(painter, Painter):
        raise InputError(f"expected a sample of the synthetic world, got {sample.video.id}")
    return painter.scene


def everything(sample: Sample) -> MaskTrack:
    """All things of a sample's scene, named, in the order of `by_name`. InputError as for `scene_of`."""
    scene = scene_of(sample)
    return true_masks(scene, by_name(scene, range(len(scene.things))))


def by_name(scene: Scene, things: Iterable[int]) -> list[int]:
    """Indices of things in the order of their colours, then forms, as the world lists them."""
    colours, forms = list(COLOURS), scene.world.forms
    named = {i: (colours.index(scene.things[i].colour), forms.index(scene.things[i].form)) for i in things}
    return sorted(named, key=lambda i: named[i])


def _meta(scene: Scene, question: Question) -> dict[str, Any]:
    things = scene.things
    order = by_name(scene, question.targets)
    targets = [things[t].name for t in order]
    facts = [(things[i].name, question.facts[i]) for i in by_name(scene, range(len(things)))]
    objects = [
        {"colour": t.colour, "form": t.form, "motion": t.motion, "growth": t.growth, "speed": t.speed} for t in things
    ]
    return {
        "kind": question.kind,
        "key": question.key,
        "targets": order,
        "descriptions": targets,
        "thinking": trace(facts, targets),
        "objects": objects,
    }


def _shade(rng: np.random.Generator, scene: Scene) -> tuple[int, int, int]:
    """A plain background: dark, or light where nothing white or yellow would be lost on it."""
    light = rng.random() < 0.3 and not {"white", "yellow"} & {t.colour for t in scene.things}
    red, green, blue = (rng.integers(195, 222) if light else rng.integers(8, 48)) + rng.integers(-6, 7, 3)
    return int(red), int(green), int(blue)


def render_mp4(sample: Sample, path: str | Path, *, overwrite: bool = False) -> None:
    """Writes the sample's video as an H.264 mp4, a few frames at a time; OutputError when `path` exists.

    The format wants even sides: an odd one gains a repeated row or column, which the truth does not have.
    """
    from revseg.drawing import write_video

    video = sample.video
    starts = range(0, video.length, 64)
    frames = (frame for start in starts for frame in video.read(range(start, min(start + 64, video.length))))
    write_video(path, frames, video.fps, quality=12, overwrite=overwrite)
