"""From a scene and a question about it to a `Sample`: query text, true masks and meta; and back to the scene."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from revseg.errors import InputError
from revseg.masks import MaskTrack
from revseg.shapes.render import Painter, true_masks
from revseg.shapes.scene import COLOURS, Scene
from revseg.shapes.view import Question
from revseg.shapes.wording import phrase, trace
from revseg.types import Query, Sample
from revseg.video import Video


def make_sample(video: Video, query_id: str, question: Question, wording: str, rng: np.random.Generator) -> Sample:
    """The sample of one question about a video of the synthetic world."""
    assert isinstance(video.reader, Painter)
    scene = video.reader.scene
    text = phrase(wording, question.key, question.slots, question.kind == "several")
    if len(question.targets) == 2 and text.startswith("all ") and rng.random() < 0.5:
        text = "both " + text.removeprefix("all ")
    if question.targets:
        truth = true_masks(scene, in_name_order(scene, question.targets))
    else:
        truth = MaskTrack.empty(video.size, np.arange(video.length))
    return Sample(video, Query(query_id, text), truth, _meta(scene, question))


def _meta(scene: Scene, question: Question) -> dict[str, Any]:
    """What `Shapes` documents as a sample's `meta`."""
    things = scene.things
    order = in_name_order(scene, question.targets)
    targets = [things[t].name for t in order]
    facts = [(things[i].name, question.facts[i]) for i in in_name_order(scene, range(len(things)))]
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


def scene_of(sample: Sample) -> Scene:
    """The scene behind a sample's video. InputError for a sample of another dataset."""
    painter = sample.video.reader
    if not isinstance(painter, Painter):
        raise InputError(f"expected a sample of the synthetic world, got {sample.video.id}")
    return painter.scene


def all_objects(sample: Sample) -> MaskTrack:
    """Masks of every object in a sample's scene, with names, ordered by name. InputError as for `scene_of`."""
    scene = scene_of(sample)
    return true_masks(scene, in_name_order(scene, range(len(scene.things))))


def in_name_order(scene: Scene, things: Iterable[int]) -> list[int]:
    """Indices of objects sorted by colour, then by form, in the order in which the world lists both."""
    colours, forms = list(COLOURS), scene.world.forms
    ranks = {i: (colours.index(scene.things[i].colour), forms.index(scene.things[i].form)) for i in things}
    return sorted(ranks, key=lambda i: ranks[i])


def render_mp4(sample: Sample, path: str | Path, *, overwrite: bool = False) -> None:
    """Write the sample's video as an H.264 mp4, 64 frames at a time. OutputError when `path` exists.

    H.264 needs even sides: an odd one is extended by repeating its last row or column, which the truth does not have.
    """
    from revseg.video.writing import write_video

    video = sample.video
    starts = range(0, video.length, 64)
    frames = (frame for start in starts for frame in video.read(range(start, min(start + 64, video.length))))
    write_video(path, frames, video.fps, quality=12, overwrite=overwrite)
