"""Run-length masks against the same thing done on dense arrays."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from revseg.drawing import overlay
from revseg.errors import InputError
from revseg.grounding import box_of
from revseg.masks import MaskTrack, encode
from revseg.masks.metrics import contour, j_and_f, region

stacks = st.tuples(*(st.integers(1, n) for n in (3, 4, 9, 9))).flatmap(lambda shape: arrays(bool, shape))


@given(stacks)
def test_dense_comes_back_also_through_json(masks: np.ndarray) -> None:
    track = MaskTrack.from_dense(masks, np.arange(masks.shape[1]) * 5, names=["x"] * len(masks))
    for again in (track, MaskTrack.from_dict(json.loads(json.dumps(track.to_dict())))):
        np.testing.assert_array_equal(again.dense(), masks)
        assert (again.frame_ids.tolist(), again.names, again.size) == (
            track.frame_ids.tolist(),
            track.names,
            track.size,
        )
        assert (again.scores == 1).all()


@given(stacks)
def test_areas_boxes_and_union_without_decoding(masks: np.ndarray) -> None:
    track, union = MaskTrack.from_dense(masks), np.asarray(masks.any(axis=0))
    np.testing.assert_array_equal(track.union().dense()[0], union)
    np.testing.assert_array_equal(track.areas, union.sum((1, 2)))
    np.testing.assert_array_equal(track.visible, union.sum((1, 2)) > 0)
    h, w = track.size
    for box, mask in zip(track.boxes, union, strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        tight = [columns[0] / w, rows[0] / h, (columns[-1] + 1) / w, (rows[-1] + 1) / h] if len(rows) else [0] * 4
        np.testing.assert_allclose(box, tight, rtol=1e-6)


def test_by_hand() -> None:
    mask = np.zeros((2, 4, 10), bool)
    mask[1, 1:3, 2:7] = True
    track = MaskTrack.from_dense(mask, [3, 8])
    assert track.areas.tolist() == [0, 10]
    assert track.visible.tolist() == [False, True]
    np.testing.assert_allclose(track.boxes[1], [0.2, 0.25, 0.7, 0.75])
    assert track.boxes[0].tolist() == [0, 0, 0, 0]
    assert repr(track) == "MaskTrack(1 objects on 2 frames of 10x4)"
    assert encode(np.zeros((4, 10), bool)) == track.counts[0][0]
    # COCO counts columns first, starting with zeros: 9 zeros, 2 ones, 2 zeros, 2 ones ...
    assert track.rle(0, 1)["size"] == [4, 10]


def test_frames_and_objects_are_picked() -> None:
    masks = np.random.default_rng(0).random((3, 4, 5, 6)) < 0.5
    track = MaskTrack.from_dense(masks, [0, 10, 20, 30], names=["a", "b", "c"])
    np.testing.assert_array_equal(track.at([20, 0]).dense(), masks[:, [2, 0]])
    np.testing.assert_array_equal(track.dense([30]), masks[:, [3]])
    np.testing.assert_array_equal(track.select([2, 0]).dense(), masks[[2, 0]])
    assert track.select([2, 0]).names == ("c", "a")
    with pytest.raises(InputError, match=r"no mask for frames \[5\]"):
        track.at([5])


def test_grey_pictures_and_scores() -> None:
    grey = np.array([[[0, 255], [255, 0]]], np.uint8)
    np.testing.assert_array_equal(MaskTrack.from_dense(grey).dense()[0], grey > 0)
    track = MaskTrack(((encode(grey[0] > 0),),), (2, 2), np.array([0]), np.array([[0.25]], np.float32))
    assert MaskTrack.from_dict(track.to_dict()).scores.tolist() == [[0.25]]
    assert track.union().scores.tolist() == [[0.25]]


def test_nothing() -> None:
    track = MaskTrack.empty((4, 5), [0, 2], objects=2)
    assert (track.objects, len(track), track.visible.any()) == (2, 2, np.False_)
    assert MaskTrack.empty((4, 5), [0, 2], objects=0).union().areas.tolist() == [0, 0]
    none = MaskTrack.from_dense(np.zeros((1, 0, 4, 5), bool))
    assert none.boxes.shape == (0, 4)
    assert none.dense().shape == (1, 0, 4, 5)
    assert none.areas.shape == (0,)


def test_bad_input() -> None:
    with pytest.raises(InputError, match=r"expected masks of shape \[t h w\]"):
        MaskTrack.from_dense(np.zeros((3, 3), bool))
    with pytest.raises(InputError, match="one mask per frame, got 2 for 1"):
        MaskTrack.from_dense(np.zeros((2, 3, 3), bool), [0])
    with pytest.raises(InputError, match="expected scores of shape"):
        MaskTrack(((encode(np.zeros((3, 3), bool)),),), (3, 3), np.array([0]), np.ones((2, 1), np.float32))
    for bad in ({}, {"size": [1], "frame_ids": [], "counts": []}, {"size": [2, 2], "frame_ids": [0], "counts": [[3]]}):
        with pytest.raises(InputError, match="not a mask track"):
            MaskTrack.from_dict(bad)


@pytest.mark.parametrize(
    ("values", "hint"),
    [
        (np.array([-3.0, 2.5]), "logits > 0 or probabilities > 0.5"),
        (np.array([0.0, 1.0]), "logits > 0 or probabilities > 0.5"),
        (np.array([0.2, 0.9], np.float16), "got float16"),
        (np.array([np.nan, 1.0]), "got float64"),
        (np.array([-4, 7]), "other values up to 7"),
        (np.array([-1, 0]), "other values up to 0"),
        (np.array([0, 1, 255], np.uint8), "other values up to 255"),
        (np.array([0, 3], np.uint8), "labels == 3"),
        (np.array([True, None]), "got object"),
        (np.array(["0", "1"]), "got <U1"),
        (np.array([0j, 1j]), "got complex128"),
    ],
)
def test_what_is_no_mask_is_refused_everywhere(values: np.ndarray, hint: str) -> None:
    """Logits are not 0 almost everywhere: they would be masks of the whole frame."""
    masks = np.broadcast_to(values, (2, 3, len(values)))
    good = np.zeros(masks.shape, bool)
    with pytest.raises(InputError, match=hint) as error:
        MaskTrack.from_dense(masks)
    assert "\n" not in str(error.value)
    for scored in (region, contour, j_and_f):
        for pair in ((masks, good), (good, masks)):
            with pytest.raises(InputError, match="expected the"):
                scored(*pair)
        with pytest.raises(InputError, match="expected the void"):
            scored(good, good, void=masks)
    with pytest.raises(InputError, match=hint):
        overlay(np.zeros((3, len(values), 3), np.uint8), masks)
    with pytest.raises(InputError, match=hint):
        box_of(masks[0])


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.int8])
@pytest.mark.parametrize("high", [1, 255])
def test_masks_of_integers(dtype: type, high: int) -> None:
    want = np.random.default_rng(0).random((2, 3, 5)) > 0.5
    masks = (want * high).astype(dtype)
    if dtype == np.int8 and high == 255:
        with pytest.raises(InputError, match="threshold first"):
            MaskTrack.from_dense(masks)
        return
    np.testing.assert_array_equal(MaskTrack.from_dense(masks).dense()[0], want)
    assert region(masks, want).tolist() == [1.0, 1.0]
    frame = np.zeros((3, 5, 3), np.uint8)
    np.testing.assert_array_equal(overlay(frame, masks), overlay(frame, want))
