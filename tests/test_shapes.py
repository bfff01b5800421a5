"""The synthetic world: every answer is worked out again from the pixels, by other code than what asked."""

import os
import pickle
import re
import subprocess
import sys
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import revseg
from revseg import datasets
from revseg.errors import InputError, OutputError, SpecError
from revseg.shapes.dataset import KINDS, VOCABULARY, Shapes
from revseg.shapes.queries import questions
from revseg.shapes.render import FORMS, UNSEEN_FORMS, Look, Painter, label_maps, stamp, true_masks
from revseg.shapes.samples import render_mp4, scene_of
from revseg.shapes.scene import COLOURS, UNSEEN_COLOURS, Scene, Thing, World
from revseg.shapes.view import View
from revseg.types import Dataset, Sample
from revseg.video import Video

SHIFTS: list[dict[str, Any]] = [
    {},
    {"colours": "unseen"},
    {"forms": "unseen"},
    {"wording": "reworded"},
    {"speed": 2.0},
    {"scale": 0.6},
    {"brief": 1.0},
    {"noise": 0.1},
    {"compression": 30},
    {"background": "texture"},
    {"frames": 16, "height": 97, "width": 131},
    {"objects": (4, 6), "height": 64, "width": 40},
]


def thing(form: str, x: float, y: float, diameter: float, frames: int = 1, colour: str = "red") -> Thing:
    centre = np.tile(np.array([[x, y]], np.float64), (frames, 1))
    return Thing(colour, form, centre, np.full(frames, float(diameter)), np.ones(frames, bool), "still", 0, "same", 0.0)


def digest(sample: Sample) -> tuple[Any, ...]:
    frames = sample.video.read(range(sample.video.length))
    assert sample.truth is not None
    return sample.query.text, sample.meta["thinking"], sample.truth.counts, frames.tobytes()


@cache
def asked(kind: str) -> list[Sample]:
    return list(Shapes(size=40, kinds=[kind], seed=3))


# drawing


def test_stamps_by_hand() -> None:
    drawn = "".join(".#"[p] for p in stamp("diamond", 5).ravel().tolist())
    assert drawn == "..#...###.#####.###...#.."
    assert stamp("square", 7).all()
    assert not stamp("ring", 15)[7, 7]
    assert stamp("ring", 15)[7, 0]


@pytest.mark.parametrize("form", [*FORMS, *UNSEEN_FORMS])
def test_forms_fill_their_diameter_and_differ(form: str) -> None:
    pixels = stamp(form, 30)
    assert 0.2 < pixels.mean() <= 1
    assert np.flatnonzero(pixels.any(1)).size >= 26
    assert np.flatnonzero(pixels.any(0)).size >= 20
    for other in {*FORMS, *UNSEEN_FORMS} - {form}:
        union = (pixels | stamp(other, 30)).sum()
        assert (pixels ^ stamp(other, 30)).sum() > 0.08 * union, other


def test_nearer_things_hide_others_by_hand() -> None:
    world = World(frames=1, height=16, width=16, forms=tuple(FORMS))
    scene = Scene(world, (thing("square", 6, 6, 4), thing("square", 8, 8, 4)))
    front, back = true_masks(scene, [0, 1]).dense()[:, 0]
    expected = np.zeros((16, 16), bool)
    expected[4:8, 4:8] = True
    np.testing.assert_array_equal(front, expected)
    hidden = np.zeros((16, 16), bool)
    hidden[6:10, 6:10] = True
    np.testing.assert_array_equal(back, hidden & ~expected)
    _, seen, whole = label_maps(scene, np.arange(1))
    assert seen.tolist() == [[16], [12]]
    assert whole.tolist() == [[16], [16]]


def test_borders_cut() -> None:
    world = World(frames=1, height=16, width=20, forms=tuple(FORMS))
    mask = true_masks(Scene(world, (thing("square", 20, 0, 6),)), [0]).dense()[0, 0]
    assert np.argwhere(mask).min(0).tolist() == [0, 17]
    assert mask.sum() == 9


@pytest.mark.parametrize("shift", [{}, {"height": 97, "width": 131}, {"forms": "unseen"}, {"objects": [5, 8]}])
def test_truth_is_where_the_colour_is(shift: dict[str, Any]) -> None:
    for sample in Shapes(size=6, **shift):
        scene = scene_of(sample)
        frames = sample.video.read(range(sample.video.length))
        masks = true_masks(scene, list(range(len(scene.things)))).dense()
        assert (masks.sum(0) <= 1).all()
        for colour in {t.colour for t in scene.things}:
            same = np.any([m for t, m in zip(scene.things, masks, strict=True) if t.colour == colour], 0)
            np.testing.assert_array_equal((frames == COLOURS[colour]).all(-1), same)
        plain = frames[~masks.any(0)]
        assert (plain == plain[:1]).all()
        assert sample.truth is not None
        targets = sample.meta["targets"]
        expected = masks[targets] if targets else np.zeros((1, *masks.shape[1:]), bool)
        np.testing.assert_array_equal(sample.truth.dense(), expected)


@pytest.mark.parametrize("shift", SHIFTS, ids=str)
def test_any_frames_in_any_order(shift: dict[str, Any]) -> None:
    sample = Shapes(size=1, **shift)[0]
    every = sample.video.read(range(sample.video.length))
    assert every.shape == (sample.video.length, *sample.video.size, 3)
    assert every.dtype == np.uint8
    ids = [9, 0, 9, 15]
    np.testing.assert_array_equal(sample.video.read(ids), every[ids])
    assert sample.video.read([]).shape == (0, *sample.video.size, 3)


# the sequence


def test_registered_and_lazy() -> None:
    world = datasets.build('shapes:size=3,kinds=["motion"],objects=[2,3]')
    assert isinstance(world, Dataset)
    assert len(world) == len(list(world)) == 3
    assert "shapes" in revseg.names("dataset")
    with pytest.raises(SpecError, match="Did you mean 'noise'"):
        datasets.build("shapes:nois=1")


def test_one_item_needs_no_other() -> None:
    endless = Shapes(size=10**12)
    assert digest(endless[7]) == digest(Shapes(size=8)[-1])
    assert endless[10**12 - 1].video.id.endswith(f"-{10**12 - 1}")
    with pytest.raises(IndexError):
        Shapes(size=3)[3]
    with pytest.raises(IndexError):
        Shapes(size=3)[-4]
    assert list(Shapes(size=0)) == []


def test_a_sample_holds_no_frames_and_can_be_sent() -> None:
    sample = Shapes(size=1, height=480, width=854)[0]
    packed = pickle.dumps(sample)
    assert len(packed) < 100_000
    assert digest(pickle.loads(packed)) == digest(sample)


def test_splits_and_seeds_differ() -> None:
    worlds = [Shapes(size=10, split=s, seed=n) for s in ("train", "validation", "test") for n in (0, 1)]
    seen = [(sample.query.id, sample.video.read([16]).tobytes()) for world in worlds for sample in world]
    assert len(set(seen)) == len({name for name, *_ in seen}) == len({drawn for *_, drawn in seen}) == 60


def test_the_same_in_another_process() -> None:
    code = (
        "import hashlib, revseg.datasets as d\n"
        "told = [(s.query.text, s.meta['thinking'], s.truth.counts, s.video.read([0, 9]).tobytes())"
        " for s in d.build('shapes:size=25')]\n"
        "print(hashlib.sha256(repr(told).encode()).hexdigest())"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": n}, capture_output=True)
        for n in ("1", "2")
    ]
    assert runs[0].stdout == runs[1].stdout
    assert len(runs[0].stdout) > 60, runs[0].stderr


def test_import_is_light() -> None:
    code = "import sys, revseg.datasets; print([m for m in ('torch', 'cv2', 'av', 'PIL') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


# the questions


@pytest.mark.parametrize("shift", SHIFTS, ids=str)
def test_samples_keep_their_promises(shift: dict[str, Any]) -> None:
    for sample in Shapes(size=25, **shift):
        meta, truth, things = sample.meta, sample.truth, scene_of(sample).things
        assert truth is not None
        assert truth.size == sample.video.size
        assert truth.frame_ids.tolist() == list(range(sample.video.length))
        assert {*sample.query.text.split(), *meta["thinking"].split()} <= {*VOCABULARY}
        assert meta["kind"] in KINDS
        assert len({(t.colour, t.form) for t in things}) == len(things)
        assert meta["descriptions"] == [things[t].name for t in meta["targets"]] == list(truth.names)
        said = meta["thinking"].split("so ")[-1]
        if meta["kind"] == "absent":
            assert not meta["targets"]
            assert not truth.visible.any()
            assert said == "none"
            continue
        assert (len(meta["targets"]) == 1) == (meta["kind"] != "several")
        assert said.split(" and ") == meta["descriptions"]
        for row in range(truth.objects):
            assert truth.select([row]).visible.mean() >= 0.25


def extents(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """From masks: boxes [o t 4] in pixels of each thing drawn alone with room around, and its seen pixels [o t]."""
    scene = scene_of(sample)
    count, (height, width) = len(scene.things), sample.video.size
    seen = true_masks(scene, list(range(count))).dense().sum((2, 3))
    roomy = replace(scene.world, height=5 * height, width=5 * width)
    shift = np.array([2 * width, 2 * height], np.float64)
    alone = [true_masks(Scene(roomy, (replace(t, centre=t.centre + shift),)), [0]).boxes for t in scene.things]
    return np.stack(alone).astype(np.float64) * np.tile([5 * width, 5 * height], 2) - np.tile(shift, 2), seen


def test_traces_tell_what_the_masks_show() -> None:
    """Places, sizes and times in a trace against boxes of the masks, in percent and sixteenths, to rounding."""
    checked = {"place": 0, "size": 0, "time": 0}
    for sample in Shapes(size=150, seed=5):
        boxes, seen = extents(sample)
        names = [t.name for t in scene_of(sample).things]
        centres, sides = (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2]).max(-1)
        for fact in sample.meta["thinking"].split(" . ")[:-1]:
            row = names.index(" ".join(fact.split()[:2]))
            there = np.flatnonzero(seen[row] > 18)  # enough to count
            moments = [there[0], (there[0] + there[-1]) // 2, there[-1]]
            places = [(int(x), int(y)) for x, y in re.findall(r"(?<!for )\b(\d+) (\d+)\b", fact)]
            if len(places) == 1:  # a relation: at the start or at the end
                moments = [0 if "start" in sample.query.text else 31]
            for place, moment in zip(places, moments if places else [], strict=True):
                centre = np.clip(100 * centres[row, moment] / 112, 0, 100)
                assert np.abs(centre - place).max() <= 4.5, (sample.query.text, fact)
                checked["place"] += 1
            for size in re.findall(r"size (\d+)", fact):
                moment = 0 if "start" in sample.query.text else 31 if "end" in sample.query.text else moments[0]
                assert abs(100 * sides[row, moment] / 112 - int(size)) <= 6, (sample.query.text, fact)
                checked["size"] += 1
            for first, last in re.findall(r"from (\d+) to (\d+)", fact):
                assert (int(first), int(last)) == (there[0] // 2, there[-1] // 2)
                checked["time"] += 1
    assert min(checked.values()) > 20


def verdict(condition: Any) -> list[int]:
    return np.flatnonzero(condition).tolist()


def along(boxes: np.ndarray, seen: np.ndarray) -> list[np.ndarray]:
    """Centres [f 2] of each thing on the frames that show any of it."""
    centres = (boxes[..., :2] + boxes[..., 2:]) / 2
    return [c[s > 0] for c, s in zip(centres, seen, strict=True)]


def motion_answer(key: str, sample: Sample) -> list[int]:
    boxes, seen = extents(sample)
    paths = along(boxes, seen)
    side = min(sample.video.size)
    if key in ("grows", "shrinks"):
        ends = [b[s > 0][[0, -1]] for b, s in zip(boxes, seen, strict=True)]
        ratio = np.array([(e[1, 2:] - e[1, :2]).max() / (e[0, 2:] - e[0, :2]).max() for e in ends])
        return verdict(ratio > 1.25) if key == "grows" else verdict(ratio < 0.8)
    moved = np.array([p[-1] - p[0] for p in paths])
    reach = np.array([np.ptp(p, 0).max() for p in paths])
    turned = [any(np.diff(p[:, a]).max() > 0.5 and np.diff(p[:, a]).min() < -0.5 for a in (0, 1)) for p in paths]
    if key in ("still", "moves"):
        return verdict((reach < 0.06 * side) == (key == "still"))
    if key == "bounce":
        back = [max(np.ptp(p[:, a]) - abs(p[-1, a] - p[0, a]) for a in (0, 1)) for p in paths]
        return verdict([b > 0.1 * side and t for b, t in zip(back, turned, strict=True)])
    axis, sign = {"left": (0, -1), "right": (0, 1), "up": (1, -1), "down": (1, 1)}[key]
    dominant = np.abs(moved[:, axis]) > 1.5 * np.abs(moved[:, 1 - axis])
    straight = np.array([np.ptp(p[:, axis]) - abs(p[-1, axis] - p[0, axis]) <= 2.5 for p in paths])
    return verdict((sign * moved[:, axis] > 0.1 * side) & dominant & straight)


def time_answer(key: str, sample: Sample) -> list[int]:
    _, seen = extents(sample)
    frames = seen.shape[1]
    least = 0.0015 * sample.video.size[0] * sample.video.size[1]
    first, last = (seen >= least).argmax(1), frames - 1 - (seen >= least)[:, ::-1].argmax(1)
    if key == "appears":
        return verdict(first >= frames / 8)
    if key == "disappears":
        return verdict(last <= frames - 1 - frames / 8)
    values = {"appears_first": -first, "appears_last": first, "disappears_first": -last}[key]
    ordered = np.sort(values)
    assert ordered[-1] - ordered[-2] >= frames / 8, "the margin"
    return [int(values.argmax())]


def named(sample: Sample, text: str) -> int:
    return next(i for i, t in enumerate(scene_of(sample).things) if t.name in text)


def relation_answer(key: str, sample: Sample) -> list[int]:
    boxes, seen = extents(sample)
    scene = scene_of(sample)
    other = named(sample, sample.query.text)
    if key == "behind":
        alone = [label_maps(Scene(scene.world, (t,)), np.arange(scene.world.frames))[0] > 0 for t in scene.things]
        over = [
            ((a & alone[other]).sum((1, 2)) / np.maximum(a.sum((1, 2)), 1)).max() if i > other else 0.0
            for i, a in enumerate(alone)
        ]
        return verdict(np.array(over) >= 0.5)
    at = 0 if sample.query.text.endswith("start") else -1
    there = seen[:, at] > 0
    centre = np.array([t.centre[at] for t in scene.things])
    for i in range(len(there)):  # the tracks are where the pixels are
        if there[i] and scene.things[i].form == "square":
            assert np.abs((boxes[i, at, :2] + boxes[i, at, 2:]) / 2 - centre[i]).max() <= 1
    offset = centre - centre[other]
    if key == "nearest":
        away = np.where(there & (np.arange(len(there)) != other), np.hypot(*offset.T), np.inf)
        assert np.sort(away)[1] >= 1.3 * away.min(), "the margin"
        return [int(away.argmin())]
    axis, sign = {"left_of": (0, -1), "right_of": (0, 1), "above": (1, -1), "below": (1, 1)}[key]
    return verdict(there & (sign * offset[:, axis] > 0.1 * min(sample.video.size)))


def comparison_answer(key: str, sample: Sample) -> list[int]:
    boxes, seen = extents(sample)
    if key in ("fastest", "slowest"):
        centres = (boxes[..., :2] + boxes[..., 2:]) / 2
        steps = np.abs(np.diff(centres, axis=1)).max(-1)  # along its main axis; a turn is one slow step of many
        speed = np.array([np.nanmedian(np.where(s[1:] > 0, d, np.nan)) for d, s in zip(steps, seen, strict=True)])
        values = speed if key == "fastest" else -speed
        return [int(values.argmax())]
    things = scene_of(sample).things
    sizes = np.where(seen > 0, np.stack([t.diameter for t in things]), np.nan)
    what, _, when = key.partition("_")
    if when == "form":
        words = sample.query.text.split()
        sizes[[t.form not in words for t in things]] = np.nan
    at = {"start": slice(0, 1), "end": slice(-1, None)}.get(when, slice(None))
    among = verdict(np.isfinite(sizes[:, at]).any(1))
    low, high = np.nanmin(sizes[among, at], 1), np.nanmax(sizes[among, at], 1)
    if what == "largest":
        return [i for n, i in enumerate(among) if low[n] >= 1.3 * np.delete(high, n).max()]
    return [i for n, i in enumerate(among) if 1.3 * high[n] <= np.delete(low, n).min()]


def attribute_answer(key: str, sample: Sample) -> list[int]:
    words = {w.removesuffix("es") if w == "crosses" else w.removesuffix("s") if w != "cross" else w
             for w in sample.query.text.split()}  # fmt: skip
    asked_for = words & {*COLOURS, *FORMS}
    assert len(asked_for) == (2 if key == "pair" else 1)
    return [i for i, t in enumerate(scene_of(sample).things) if asked_for <= {t.colour, t.form}]


def answer(sample: Sample) -> list[int]:
    key = sample.meta["key"]
    if key in ("pair", "colour", "form"):
        return attribute_answer(key, sample)
    if key in ("appears", "disappears", "appears_first", "appears_last", "disappears_first"):
        return time_answer(key, sample)
    if key in ("left_of", "right_of", "above", "below", "nearest", "behind"):
        return relation_answer(key, sample)
    if key.startswith(("largest", "smallest", "fastest", "slowest")):
        return comparison_answer(key, sample)
    return motion_answer(key, sample)


@pytest.mark.parametrize("kind", KINDS)
def test_answers_worked_out_again(kind: str) -> None:
    for sample in asked(kind):
        assert answer(sample) == sorted(sample.meta["targets"]), (sample.video.id, sample.query.text)


def test_targets_and_trace_in_the_order_of_colours_and_forms() -> None:
    names = [f"{colour} {form}" for colour in COLOURS for form in FORMS]
    for sample in Shapes(size=30, objects=(4, 6), seed=5):
        described = [names.index(name) for name in sample.meta["descriptions"]]
        assert described == sorted(described)
        assert sample.truth is not None
        if described:
            assert [names[i] for i in described] == list(sample.truth.names)
        *facts, _ = sample.meta["thinking"].split(" . ")
        listed = [names.index(" ".join(fact.split()[:2])) for fact in facts]
        assert listed == sorted(listed)
        assert len(listed) == len(sample.meta["objects"])


def test_extra_questions_are_right_and_about_the_same_video() -> None:
    world = Shapes(size=12, seed=11)
    rng = np.random.default_rng(0)
    kinds = set()
    for sample in world:
        extra = world.extra_questions(sample, rng, 3)
        assert len({sample.query.text, *(a.query.text for a in extra)}) == 1 + len(extra)
        assert len({sample.query.id, *(a.query.id for a in extra)}) == 1 + len(extra)
        for question in extra:
            assert question.video is sample.video
            assert answer(question) == sorted(question.meta["targets"]), question.query.text
            kinds.add(question.meta["kind"])
    assert len(kinds) > 4
    motion = Shapes(size=1, kinds=["motion"])
    assert {q.meta["kind"] for s in world for q in motion.extra_questions(s, rng, 2)} == {"motion"}
    with pytest.raises(InputError, match="synthetic world"):
        world.extra_questions(replace(world[0], video=Video.open(np.zeros((1, 4, 4, 3), np.uint8))), rng, 1)


def moving(path: np.ndarray, motion: str, **changes: Any) -> Thing:
    """A circle of 16 pixels along x, on a row of its own."""
    base = replace(thing("circle", 0, 60, 16, frames=len(path)), motion=motion, speed=1.0)
    return replace(base, centre=np.stack([path, np.full(len(path), 60.0)], -1), **changes)


def keys(*things: Thing) -> set[tuple[str, str]]:
    world = World(frames=32, forms=tuple(FORMS))
    return {(q.key, q.kind) for q in questions(View.of(Scene(world, things)))}


def test_what_the_frames_do_not_show_is_not_asked() -> None:
    path = np.linspace(20, 90, 32)
    there = np.arange(32)
    assert ("right", "motion") in keys(moving(path, "right"))
    assert not {"right", "moves", "left"} & {k for k, _ in keys(moving(path, "right", present=there < 8))}
    back = np.concatenate([path[::2], path[::-2]])
    assert ("bounce", "motion") in keys(moving(back, "bounce"))
    assert not {"bounce", "moves", "up"} & {k for k, _ in keys(moving(back, "bounce", present=there > 15))}
    assert ("left", "absent") not in keys(moving(back, "bounce"))
    sizes = np.linspace(14, 28, 32)
    assert ("grows", "motion") in keys(moving(path, "right", diameter=sizes, growth="grows"))
    short = keys(moving(path, "right", diameter=sizes, growth="grows", present=there < 12))
    assert not {"grows"} & {k for k, _ in short}
    assert ("shrinks", "absent") in short


def test_a_trace_at_the_start_is_neither_there_nor_late() -> None:
    inside, sliver = np.full(32, 60.0), np.full(32, 60.0)
    sliver[:10] = -7.0  # one column of it is in the picture
    assert ("appears", "absent") in keys(moving(inside, "still"))
    assert not {k for k, _ in keys(moving(sliver, "still"))} & {"appears"}
    sliver[:10] = -20.0
    assert ("appears", "time") in keys(moving(sliver, "still"))


def test_most_of_every_thing_shows_for_a_while() -> None:
    world = World(frames=32, forms=tuple(FORMS))
    front, back = thing("square", 50, 50, 20, 32), thing("square", 54, 50, 20, 32, "blue")
    assert not View.of(Scene(world, (front, back))).all_clear
    aside = replace(back, centre=back.centre + np.array([[8.0, 0.0]]))
    assert View.of(Scene(world, (front, aside))).all_clear


@pytest.mark.parametrize(("brief", "least", "most"), [(0.0, 0.0, 0.0), (0.5, 0.4, 0.6), (1.0, 1.0, 1.0)])
def test_share_of_brief_things(brief: float, least: float, most: float) -> None:
    things = [t for s in Shapes(size=120, brief=brief, kinds=["attribute"]) for t in scene_of(s).things]
    assert least <= np.mean([not t.present.all() for t in things]) <= most


def test_all_and_both() -> None:
    texts = {s.query.text.split()[0] for s in Shapes(size=60, frames=4, kinds=["several"])}
    assert {"all", "both"} <= texts


def test_speed_margin() -> None:
    for sample in asked("comparison"):
        speeds = sorted(o["speed"] for o in sample.meta["objects"])
        if sample.meta["key"] == "fastest":
            assert speeds[-1] >= 1.5 * speeds[-2]
        if sample.meta["key"] == "slowest":
            assert 0 < 1.5 * speeds[0] <= speeds[1]


def test_all_keys_come_up() -> None:
    plain = {s.meta["key"] for kind in KINDS for s in asked(kind)}
    assert {"pair", "left", "up", "still", "bounce", "grows", "appears_last", "behind", "nearest", "fastest"} <= plain
    assert {s.meta["key"] for s in asked("absent")} & {"pair", "colour", "grows", "left_of"}


def test_where_matters_in_most_samples() -> None:
    """The choice of a keyframe: the box doubles or is missing on some frames."""
    world = Shapes(size=120, mix={kind: 1 for kind in KINDS if kind != "absent"})
    boxes = [s.truth.boxes for s in world if s.truth is not None]
    areas = [(b[:, 2:] - b[:, :2]).prod(1) for b in boxes]
    assert np.mean([a.min() == 0 or a.max() >= 2 * a.min() for a in areas]) >= 0.5


def test_mix_and_kinds() -> None:
    assert {s.meta["kind"] for s in Shapes(size=20, kinds=["time", "absent"])} == {"time", "absent"}
    kinds = [s.meta["kind"] for s in Shapes(size=100, frames=8, mix={"attribute": 3, "absent": 1})]
    assert 0.15 < kinds.count("absent") / 100 < 0.35


# shifts


@pytest.mark.parametrize(
    "shift", [s for s in SHIFTS if {*s} & {"colours", "wording", "noise", "compression", "background"}]
)
def test_shifts_of_look_and_words_leave_the_scene(shift: dict[str, Any]) -> None:
    for plain, other in zip(Shapes(size=8), Shapes(size=8, **shift), strict=True):
        assert plain.truth is not None
        assert other.truth is not None
        assert plain.truth.counts == other.truth.counts
        assert plain.meta["thinking"] == other.meta["thinking"]
        assert (plain.query.text == other.query.text) == ("wording" not in shift)
        same = np.array_equal(plain.video.read([0, 20]), other.video.read([0, 20]))
        assert same == ("wording" in shift)


def test_noise_is_as_strong_as_asked() -> None:
    plain, noisy = (Shapes(size=1, noise=n)[0].video.read([3, 4]).astype(float) for n in (0.0, 0.02))
    middle = (plain > 60) & (plain < 190)
    grain = (noisy - plain)[middle]
    assert 0.015 < grain.std() / 255 < 0.025
    still = (plain[0] == plain[1]).all(-1)
    assert not np.array_equal(noisy[0][still], noisy[1][still])


def test_compression_harms_more_at_less_quality() -> None:
    plain, fine, coarse = (Shapes(size=1, compression=q)[0].video.read([5]).astype(float) for q in (None, 95, 10))
    assert 0 < np.abs(fine - plain).mean() < np.abs(coarse - plain).mean() < 20


def test_texture_stays_behind_the_things() -> None:
    plain, other = (Shapes(size=1, background=b)[0] for b in ("plain", "texture"))
    there = true_masks(scene_of(plain), list(range(len(scene_of(plain).things)))).dense([0]).any(0)
    first, second = plain.video.read([0]), other.video.read([0])
    np.testing.assert_array_equal(first[there], second[there])
    assert second[~there].std(0).min() > 3


def test_unseen_hues_are_new_and_nearest_to_their_name() -> None:
    names = list(COLOURS)
    known = np.array([COLOURS[n] for n in names], float)
    for name, hue in UNSEEN_COLOURS.items():
        away = np.linalg.norm(known - hue, axis=1)
        assert names[int(away.argmin())] == name
        assert away.min() > 30


def test_unseen_forms_are_held_out() -> None:
    assert not {*FORMS} & {*UNSEEN_FORMS}
    assert {o["form"] for s in Shapes(size=20, forms="unseen") for o in s.meta["objects"]} == {*UNSEEN_FORMS}


def test_speed_and_scale() -> None:
    def mean(attribute: str, **options: Any) -> float:
        world = Shapes(size=40, kinds=["attribute"], **options)
        return float(np.mean([np.mean(getattr(t, attribute)) for s in world for t in scene_of(s).things]))

    assert mean("speed", speed=2.0) > 1.35 * mean("speed")
    assert mean("diameter", scale=0.6) == pytest.approx(0.6 * mean("diameter"), rel=0.1)


# sizes and bad input


@settings(max_examples=25, deadline=None)
@given(
    frames=st.integers(1, 90),
    height=st.integers(16, 150),
    width=st.integers(16, 150),
    fewest=st.integers(1, 4),
    more=st.integers(0, 2),
    seed=st.integers(0, 2**40),
)
def test_any_size(frames: int, height: int, width: int, fewest: int, more: int, seed: int) -> None:
    world = Shapes(size=1, frames=frames, height=height, width=width, objects=(fewest, fewest + more), seed=seed)
    sample = world[0]
    assert sample.truth is not None
    assert len(sample.truth) == sample.video.length == frames
    assert sample.truth.size == (height, width)
    assert fewest <= len(sample.meta["objects"]) <= fewest + more
    assert sample.video.read([frames - 1]).shape == (1, height, width, 3)


def test_one_frame() -> None:
    kinds = {s.meta["kind"] for s in Shapes(size=60, frames=1)}
    assert kinds == {"attribute", "relation", "comparison", "absent", "several"}


def test_a_long_video_is_checked_by_samples_of_it_and_exact_in_its_truth() -> None:
    sample = Shapes(size=1, frames=500, kinds=["time"])[0]
    assert sample.truth is not None
    ids = [0, 63, 64, 65, 300, 499]
    frames, masks = sample.video.read(ids), sample.truth.dense(ids)[0]
    colour = COLOURS[sample.meta["descriptions"][0].split()[0]]
    assert (frames[masks] == colour).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "dev"}, "unknown split: 'dev'; expected one of train"),
        ({"frames": 0}, "expected frames from 1"),
        ({"height": 8}, "expected height from 16"),
        ({"objects": [3, 2]}, "fewest, most"),
        ({"kinds": ["colour"]}, "unknown kind: 'colour'"),
        ({"kinds": ["motion"], "frames": 4}, "need frames=8 or more"),
        ({"kinds": ["relation"], "objects": [1, 1]}, "two objects or more"),
        ({"mix": {"motion": 0}}, "sum to more than 0"),
        ({"kinds": []}, "sum to more than 0"),
        ({"noise": 2}, "expected noise from 0 to 1"),
        ({"compression": 0}, "expected compression from 1 to 100"),
        ({"wording": "rude"}, "unknown wording"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Shapes(**options)


@pytest.mark.parametrize("size", [(112, 112), (97, 113)])
def test_mp4(tmp_path: Any, size: tuple[int, int]) -> None:
    sample = Shapes(size=1, height=size[0], width=size[1], frames=20)[0]
    render_mp4(sample, tmp_path / "world.mp4")
    video = Video.open(tmp_path / "world.mp4")
    assert (video.size, video.length, video.fps) == ((size[0] + size[0] % 2, size[1] + size[1] % 2), 20, 8.0)
    difference = np.abs(video.read([0, 19])[:, : size[0], : size[1]].astype(int) - sample.video.read([0, 19]))
    assert difference.mean() < 6
    with pytest.raises(OutputError, match="exists"):
        render_mp4(sample, tmp_path / "world.mp4")


def test_looks_alone_are_plain_values() -> None:
    scene = Scene(World(frames=1, height=16, width=16, forms=("square",)), (thing("square", 8, 8, 4),))
    frame = Painter(scene, Look(), (10, 20, 30), 0)(np.arange(1))[0]
    assert frame[0, 0].tolist() == [10, 20, 30]
    assert frame[8, 8].tolist() == list(COLOURS["red"])
