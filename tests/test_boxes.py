import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from revseg.errors import InputError
from revseg.grounding import areas, box_of, clamp, iou, to_pixels, to_unit, union_box
from revseg.grounding.boxes import box_iou
from revseg.masks.dense import tight_box
from revseg.testing import boxes

SIZES = st.tuples(st.integers(1, 900), st.integers(1, 900))


@st.composite
def pixel_boxes(draw, height=9, width=11):
    x1, y1 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return x1, y1, draw(st.integers(x1 + 1, width)), draw(st.integers(y1 + 1, height))


def test_iou_by_hand():
    a = np.array([[0, 0, 2, 2], [0, 0, 1, 1]])
    b = np.array([[1, 1, 3, 3], [2, 0, 4, 2], [0, 0, 2, 2]])
    # 1 pixel of 7; side by side without a common pixel; the same. Then: a corner touch, apart, a quarter.
    np.testing.assert_allclose(iou(a, b), [[1 / 7, 0, 1], [0, 0, 0.25]])
    assert box_iou(np.array([0, 0, 2, 2]), np.array([1, 0, 3, 2])) == pytest.approx(1 / 3)


def test_iou_of_no_boxes_and_of_empty_ones():
    assert iou(np.zeros((0, 4)), np.zeros((3, 4))).shape == (0, 3)
    assert iou(np.zeros((1, 4)), np.zeros((1, 4))).item() == 0
    assert areas(np.array([[2.0, 0, 1, 3]])).item() == 0


@given(boxes(), boxes())
def test_iou_is_symmetric_within_bounds_and_one_on_itself(a, b):
    overlap = iou(a, b)
    assert ((overlap >= 0) & (overlap <= 1)).all()
    np.testing.assert_array_equal(overlap, iou(b, a).T)
    np.testing.assert_allclose(np.diag(iou(a, a)), 1)


@given(pixel_boxes(), pixel_boxes(), st.floats(0.1, 50), st.floats(0.1, 50), st.floats(-9, 9))
def test_iou_does_not_change_with_scale_by_axis_or_shift(a, b, across, down, shift):
    one, other = np.array([a], float), np.array([b], float)
    scale = np.array([across, down, across, down])
    np.testing.assert_allclose(iou(one * scale + shift, other * scale + shift), iou(one, other), atol=1e-9)


@given(pixel_boxes(), pixel_boxes())
def test_iou_equals_the_iou_of_filled_boxes(a, b):
    masks = np.zeros((2, 9, 11), bool)
    for mask, (x1, y1, x2, y2) in zip(masks, (a, b), strict=True):
        mask[y1:y2, x1:x2] = True
    expected = (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum()
    assert iou(np.array([a]), np.array([b])).item() == pytest.approx(expected)


@given(pixel_boxes())
def test_box_of_a_filled_box_is_the_box(box):
    x1, y1, x2, y2 = box
    mask = np.zeros((9, 11), bool)
    mask[y1:y2, x1:x2] = True
    np.testing.assert_array_equal(box_of(mask), to_unit(np.array([box]), (9, 11))[0])
    np.testing.assert_allclose(to_pixels(box_of(mask)[None], (9, 11)), [box], rtol=1e-6)


def test_tight_box_by_hand():
    mask = np.zeros((5, 7), bool)
    assert tight_box(mask) is None
    mask[[1, 3], [6, 2]] = True
    assert tight_box(mask) == (2, 1, 7, 4)


def test_points_and_stacks_of_boxes_convert_as_boxes_do():
    np.testing.assert_array_equal(to_unit(np.array([[11, 3]]), (6, 22)), np.array([[0.5, 0.5]], np.float32))
    stack = np.arange(24, dtype=np.float64).reshape(2, 3, 4)
    assert (to_pixels(stack, (3, 5))[1, 2] == stack[1, 2] * [5, 3, 5, 3]).all()


def test_box_of_an_empty_mask_is_zeros():
    np.testing.assert_array_equal(box_of(np.zeros((3, 4), bool)), np.zeros(4))


def test_width_goes_with_x_and_height_with_y():
    np.testing.assert_allclose(to_unit(np.array([[10, 10, 20, 20]]), (40, 20)), [[0.5, 0.25, 1, 0.5]])


@given(boxes(), SIZES)
def test_pixels_and_back(unit, size):
    np.testing.assert_array_equal(to_unit(to_pixels(unit, size), size), unit)


def test_size_zero_is_refused():
    with pytest.raises(InputError, match="above zero"):
        to_unit(np.zeros((1, 4)), (0, 5))


def test_clamp_and_union():
    np.testing.assert_allclose(clamp(np.array([[-1, 0.5, 2, 0.6]])), [[0, 0.5, 1, 0.6]], rtol=1e-6)
    both = union_box(np.array([[0.5, 0.1, 0.6, 0.2], [0.1, 0.4, 0.2, 0.9]]))
    np.testing.assert_allclose(both, [0.1, 0.1, 0.6, 0.9], rtol=1e-6)
    np.testing.assert_array_equal(union_box(np.zeros((0, 4))), np.zeros(4))
