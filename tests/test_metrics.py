"""J and F against DAVIS's definition written out plainly: whole frames, dilation by a disc."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from revseg.errors import InputError
from revseg.masks import MaskTrack
from revseg.masks.metrics import contour, j_and_f, object_regions, region


def plain_boundary(seg: np.ndarray) -> np.ndarray:
    """A pixel that differs from its right, lower or lower-right neighbour; last row and column apart, last corner 0."""
    right, below, corner = np.zeros_like(seg), np.zeros_like(seg), np.zeros_like(seg)
    right[:, :-1], below[:-1, :], corner[:-1, :-1] = seg[:, 1:], seg[1:, :], seg[1:, 1:]
    out = (seg ^ right) | (seg ^ below) | (seg ^ corner)
    out[-1, :] = seg[-1, :] ^ right[-1, :]
    out[:, -1] = seg[:, -1] ^ below[:, -1]
    out[-1, -1] = False
    return out


def plain_dilation(pixels: np.ndarray, radius: int) -> np.ndarray:
    out = np.zeros_like(pixels)
    height, width = pixels.shape
    for y, x in np.argwhere(pixels):
        for dy in range(-radius, radius + 1):
            for dx in range(-radius, radius + 1):
                if dy * dy + dx * dx <= radius * radius and 0 <= y + dy < height and 0 <= x + dx < width:
                    out[y + dy, x + dx] = True
    return out


def plain_f(pred: np.ndarray, truth: np.ndarray, tolerance: float = 0.008) -> float:
    radius = int(tolerance if tolerance >= 1 else np.ceil(tolerance * np.linalg.norm(pred.shape)))
    p, t = plain_boundary(pred), plain_boundary(truth)
    if not p.any() and not t.any():
        precision = recall = 1.0
    elif not p.any():
        precision, recall = 1.0, 0.0
    elif not t.any():
        precision, recall = 0.0, 1.0
    else:
        precision = (p & plain_dilation(t, radius)).sum() / p.sum()
        recall = (t & plain_dilation(p, radius)).sum() / t.sum()
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def plain_j(pred: np.ndarray, truth: np.ndarray) -> float:
    union = (pred | truth).sum()
    return 1.0 if union == 0 else float((pred & truth).sum() / union)


@st.composite
def masks(draw: st.DrawFn, h: int, w: int) -> np.ndarray:
    """Empty, full, a few boxes that may touch the border, or noise."""
    kind = draw(st.sampled_from(["empty", "full", "boxes", "boxes", "noise"]))
    out = np.zeros((h, w), bool)
    if kind == "full":
        out[:] = True
    elif kind == "boxes":
        for _ in range(draw(st.integers(1, 3))):
            y, x = draw(st.integers(0, h - 1)), draw(st.integers(0, w - 1))
            out[y : y + draw(st.integers(1, h)), x : x + draw(st.integers(1, w))] ^= True
    elif kind == "noise":
        out = np.random.default_rng(draw(st.integers(0, 999))).random((h, w)) < draw(st.sampled_from([0.02, 0.5]))
    return out


@st.composite
def pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    h, w = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    return draw(masks(h, w)), draw(masks(h, w))


@given(pairs(), st.sampled_from([0.0, 0.008, 0.05, 0.2, 1.0, 3.0]))
def test_equal_to_the_plain_definition(pair: tuple[np.ndarray, np.ndarray], tolerance: float) -> None:
    pred, truth = pair
    assert region(pred[None], truth[None])[0] == pytest.approx(plain_j(pred, truth), abs=1e-12)
    assert contour(pred[None], truth[None], tolerance)[0] == pytest.approx(plain_f(pred, truth, tolerance), abs=1e-12)


@given(pairs())
def test_symmetric_and_one_on_itself(pair: tuple[np.ndarray, np.ndarray]) -> None:
    pred, truth = (m[None] for m in pair)
    assert contour(pred, truth)[0] == pytest.approx(contour(truth, pred)[0])
    assert region(pred, truth)[0] == region(truth, pred)[0]
    assert j_and_f(pred, pred).jf == 1


def box(y1: int, x1: int, y2: int, x2: int, size: tuple[int, int] = (100, 100)) -> np.ndarray:
    out = np.zeros((1, *size), bool)
    out[:, y1:y2, x1:x2] = True
    return out


def test_by_hand() -> None:
    # 10x10 squares, half overlapping: 50 of 150 pixels in common.
    assert region(box(0, 0, 10, 10), box(0, 5, 10, 15))[0] == pytest.approx(1 / 3)
    # One pixel at (2, 2): its boundary is (1, 1), (1, 2), (2, 1), (2, 2); moved by one column, two of four coincide.
    assert contour(box(2, 2, 3, 3), box(2, 3, 3, 4), 0.0)[0] == pytest.approx(0.5)
    # Reach of 100x100 is ceil(0.008 * 141.4) = 2: a shift by 2 is forgiven, a shift by 30 is not.
    assert contour(box(20, 20, 40, 40), box(20, 22, 40, 42))[0] == 1
    assert contour(box(20, 20, 40, 40), box(60, 60, 80, 80))[0] == 0


@pytest.mark.parametrize(
    ("size", "pixels"), [((480, 854), 8), ((720, 1280), 12), ((1080, 1920), 18), ((448, 448), 6), ((360, 640), 6)]
)
def test_reach_at_the_benchmarks_sizes(size: tuple[int, int], pixels: int) -> None:
    line = box(100, 100, 300, 101, size)
    assert contour(line, box(100, 100 + pixels, 300, 101 + pixels, size))[0] == 1
    assert contour(line, box(100, 101 + pixels, 300, 102 + pixels, size))[0] < 1


def test_empty_rules_and_the_whole_frame() -> None:
    empty, full, some = box(0, 0, 0, 0), box(0, 0, 100, 100), box(10, 10, 30, 30)
    assert region(empty, empty)[0] == 1
    assert contour(empty, empty)[0] == 1
    assert contour(some, empty)[0] == contour(empty, some)[0] == 0
    assert region(some, empty)[0] == 0
    # The official code's oddity, kept: a mask over the whole frame has no boundary.
    assert contour(full, empty)[0] == 1
    assert region(full, empty)[0] == 0
    assert contour(full, some)[0] == 0


def test_tracks_are_scored_as_the_union_of_their_objects() -> None:
    both = np.stack([box(0, 0, 10, 10), box(50, 50, 60, 60)])
    pred = MaskTrack.from_dense(both)
    assert j_and_f(pred, both[0] | both[1]).jf == 1
    assert region(pred, box(0, 0, 10, 10))[0] == 0.5


def test_void_counts_for_nobody() -> None:
    pred, truth, void = box(0, 0, 10, 20), box(0, 0, 10, 10), box(0, 10, 10, 30)
    assert region(pred, truth)[0] == 0.5
    assert region(pred, truth, void=void)[0] == 1
    assert contour(pred, truth, void=void)[0] == 1


def test_means() -> None:
    pred = np.concatenate([box(0, 0, 10, 10), box(0, 0, 0, 0)])
    truth = np.concatenate([box(0, 0, 10, 10), box(40, 40, 60, 60)])
    found = j_and_f(pred, truth)
    assert (found.j, found.f, found.jf) == (0.5, 0.5, 0.5)
    assert "J&F 0.5" in repr(found)
    assert found.regions.tolist() == found.contours.tolist() == [1, 0]


def test_bad_input() -> None:
    some = box(0, 0, 10, 10)
    with pytest.raises(InputError, match="1 frames of 100x100 and 1 of 50x40"):
        region(some, np.zeros((1, 40, 50), bool))
    with pytest.raises(InputError, match="got frame 3 and frame 4 at position 0"):
        contour(MaskTrack.from_dense(some, [3]), MaskTrack.from_dense(some, [4]))
    with pytest.raises(InputError, match="got float64"):
        region(some.astype(float), some)
    with pytest.raises(InputError, match="of one size"):
        j_and_f(some, np.concatenate([some, some]))
    with pytest.raises(InputError, match="tolerance"):
        contour(some, some, -1.0)


@given(arrays(bool, st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 6), st.integers(1, 6))), st.data())
def test_object_regions_are_the_regions_of_each_object(truth: np.ndarray, data: st.DataObject) -> None:
    pred = data.draw(arrays(bool, truth.shape))
    both, either = (pred & truth).sum((2, 3)), (pred | truth).sum((2, 3))
    expected = np.where(either > 0, both / np.maximum(either, 1), 1)
    np.testing.assert_array_equal(object_regions(MaskTrack.from_dense(pred), MaskTrack.from_dense(truth)), expected)
