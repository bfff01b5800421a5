"""The synthetic world `shapes`: short videos of moving forms with questions and exact masks; unlimited, seeded."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from revseg.errors import InputError
from revseg.shapes.options import SPLITS, check_options, kind_shares
from revseg.shapes.queries import KINDS, questions
from revseg.shapes.render import FORMS, UNSEEN_FORMS, Look, Painter
from revseg.shapes.samples import make_sample, scene_of
from revseg.shapes.scene import Scene, World, sample_scene
from revseg.shapes.view import Question, View
from revseg.shapes.wording import VOCABULARY
from revseg.types import Sample
from revseg.video import Video

__all__ = ["KINDS", "VOCABULARY", "Shapes"]

ATTEMPTS = 400  # scenes drawn in search of one that answers a question of the wanted kind


class Shapes:
    """A sequence of `Sample`s. Item i depends on (split, seed, i) alone and is rendered when it is read.

    Splits are disjoint by construction: each has its own random stream (NumPy's spawn keys).

    Some options shift only how a video looks or how a question is worded. The scenes of a seed stay the same, so
    results with and without the shift are paired: `wording`, `noise`, `compression`, `background` and `colours`. The
    others (`forms`, `speed`, `scale`, `brief`, `objects` and the sizes) change the scenes.

    Options:
        size: number of samples.
        split: "train", "validation" or "test".
        seed: another seed gives other samples.
        frames, height, width: of every video; at least 1, 16 and 16.
        objects: fewest and most objects in a scene, at most 8.
        kinds: the kinds of question, a subset of `KINDS`; None for all that are possible with this many frames.
        mix: share of each kind, e.g. {"absent": 1, "motion": 3}; need not sum to one. Overrides `kinds`.
        fps: nominal frames per second.
        speed, scale: factors on all motion and on all sizes.
        brief: share of objects that are present in a part of the video only, in [0, 1].
        colours: "seen", or "unseen" for other hues under the same names.
        forms: "seen", or "unseen" for held-out forms with names of their own (which `VOCABULARY` contains).
        wording: "plain" or "reworded".
        background: "plain" or "texture".
        noise: standard deviation of Gaussian pixel noise as a share of white, in [0, 1].
        compression: JPEG quality 1 (worst) to 100 applied to each frame; None for none.

    A sample's `meta` has "kind", "key" (the question's template), "targets" (indices of the objects asked for),
    "descriptions" (one per target, such as "red circle"), "thinking" (a short trace in the words of `VOCABULARY`: for
    every object the evidence that the question depends on, then the conclusion; places and sizes in percent, times in
    sixteenths of the video) and "objects" (attributes and motion of every object). The truth has one row per target, or
    one empty row when the answer is "not there". Targets, and objects in the trace, are sorted by colour, then by form,
    as the world lists them: an order that is visible on any frame.
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
        check_options(split=split, colours=colours, forms=forms, wording=wording, background=background)
        check_options(size=size, frames=frames, height=height, width=width, speed=speed, scale=scale, brief=brief)
        check_options(noise=noise, compression=100 if compression is None else compression)
        if len(objects) != 2 or not 1 <= objects[0] <= objects[1] <= 8:
            raise InputError(f"expected objects=[fewest, most] within 1..8, got {objects!r}")
        self.size, self.split, self.seed, self.fps, self.wording = size, split, seed, fps, wording
        known = tuple(FORMS if forms == "seen" else UNSEEN_FORMS)
        counts = (int(objects[0]), int(objects[1]))
        self.world = World(frames, height, width, counts, known, colours, speed, scale, brief)
        self.mix = kind_shares(kinds, mix, self.world)
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
        scene, question = self._draw(content)
        painter = Painter(scene, self.look, _shade(paint, scene), int(paint.integers(2**31)))
        name = f"shapes-{self.split}-{self.seed}-{index}"
        size = (self.world.height, self.world.width)
        video = Video(name, size, self.fps, self.world.frames, painter)
        return make_sample(video, f"{name}-query", question, self.wording, words)

    def extra_questions(self, sample: Sample, rng: np.random.Generator, count: int) -> list[Sample]:
        """At most `count` further questions about the scene of a sample of this world, balanced over their kinds."""
        texts, left = {sample.query.text}, list(questions(View.of(scene_of(sample))))
        extra: list[Sample] = []
        while left and len(extra) < count:
            group = _one_group(rng, left, [q.kind for q in left])
            group = _one_group(rng, group, [q.key for q in group])
            picked = group[int(rng.integers(len(group)))]
            left = [q for q in left if q is not picked]
            made = make_sample(sample.video, f"{sample.query.id}-{len(extra)}", picked, self.wording, rng)
            if picked.kind in self.mix and made.query.text not in texts:
                texts.add(made.query.text)
                extra.append(made)
        return extra

    def _draw(self, rng: np.random.Generator) -> tuple[Scene, Question]:
        """A scene and a question. The kind is drawn first, so that kinds which few scenes allow keep their share."""
        kind = str(rng.choice(list(self.mix), p=list(self.mix.values())))
        for _ in range(ATTEMPTS):
            view = View.of(sample_scene(rng, self.world))
            found = [q for q in questions(view) if q.kind == kind] if view.all_clear else []
            if found:
                found = _one_group(rng, found, [q.base for q in found])
                found = _one_group(rng, found, [q.key for q in found])
                return view.scene, found[int(rng.integers(len(found)))]
        raise InputError(
            f"found no scene for a question of kind {kind!r} in {ATTEMPTS} attempts: "
            f"allow more objects or frames, use a smaller scale, or leave that kind out"
        )


def _one_group(rng: np.random.Generator, found: list[Question], groups: list[str]) -> list[Question]:
    """The questions of one group, drawn uniformly over groups."""
    names = sorted(set(groups))
    name = names[int(rng.integers(len(names)))]
    return [question for question, group in zip(found, groups, strict=True) if group == name]


def _shade(rng: np.random.Generator, scene: Scene) -> tuple[int, int, int]:
    """A plain background colour: dark, or (without white or yellow objects, which would be lost on it) light."""
    light = rng.random() < 0.3 and not {"white", "yellow"} & {t.colour for t in scene.things}
    red, green, blue = (rng.integers(195, 222) if light else rng.integers(8, 48)) + rng.integers(-6, 7, 3)
    return int(red), int(green), int(blue)
