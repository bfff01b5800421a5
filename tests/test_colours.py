"""Chosen colours stand out: like nothing in the scene, like no other object's, the same each time."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts import built

from revseg.colours import ALIKE, COLOURS, choose_colours, colour, css, rgb_of, to_lab
from revseg.shapes.scene import COLOURS as WORLD


def distances(some: Sequence[Sequence[int]], others: Sequence[Sequence[int]]) -> np.ndarray:
    one, other = (to_lab(np.array(colours, np.float32)) for colours in (some, others))
    return np.linalg.norm(one[:, None] - other[None], axis=-1)


@pytest.mark.parametrize("index", range(12))
def test_no_object_takes_the_colour_of_a_thing_of_the_scene(index: int):
    data = built("dataset", "shapes:size=12,seed=4,objects=[3, 5],split=test,background=texture")
    sample = data[index]
    if not sample.truth.visible.any():
        return
    ids = sample.truth.frame_ids[sample.truth.visible][::4]
    found = choose_colours(sample.video.read(ids), sample.truth.dense(ids).swapaxes(0, 1), sample.truth.objects)
    things = [WORLD[thing["colour"]] for thing in sample.meta["objects"]]
    assert distances(found, things).min() > ALIKE
    apart = distances(found, found) + 1000 * np.eye(len(found))
    assert apart.min() > ALIKE


def test_the_published_lab_values():
    np.testing.assert_allclose(to_lab(np.array([[255, 255, 255]], np.float32)), [[100, 0, 0]], atol=0.05)
    np.testing.assert_allclose(to_lab(np.array([[255, 0, 0]], np.float32)), [[53.24, 80.09, 67.20]], atol=0.1)
    np.testing.assert_allclose(to_lab(np.array([[0, 0, 255]], np.float32)), [[32.30, 79.19, -107.86]], atol=0.1)


@pytest.mark.parametrize("taken", [rgb_of(text) for text in COLOURS])
def test_a_scene_of_one_of_the_colours_gets_another(taken: tuple[int, int, int]):
    frame = np.full((40, 60, 3), taken, np.uint8)
    masks = np.zeros((2, 40, 60), bool)
    masks[0, 5:15, 5:15] = masks[1, 20:30, 20:50] = True
    assert distances(choose_colours([frame], [masks], 2), [taken]).min() > ALIKE


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 30), st.integers(1, 30))
def test_any_scene_gets_colours_none_twice(seed: int, objects: int, h: int, w: int):
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (2, h, w, 3), np.uint8)
    masks = rng.random((2, objects, h, w)) < 0.1
    found = choose_colours(frames, masks, objects)
    assert len(found) == len(set(found)) == objects
    assert found == choose_colours(frames, masks, objects)


def test_without_frames_the_fixed_row():
    assert choose_colours([], [], 20) == [colour(i) for i in range(20)]
    assert css((1, 2, 3)) == "rgb(1, 2, 3)"


def test_more_objects_than_colours():
    frame, masks = np.zeros((8, 8, 3), np.uint8), np.zeros((40, 8, 8), bool)
    assert len(set(choose_colours([frame], [masks], 40))) == 40
