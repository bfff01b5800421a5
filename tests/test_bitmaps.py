"""Bitmaps against plain arrays: packing, COCO codes, boundaries and discs, at every width around a word's."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_metrics import masks, plain_boundary, plain_dilation

from revseg.errors import InputError
from revseg.masks import coco, encode, packed_masks
from revseg.masks.metrics import j_and_f


def unpacked(bitmap: np.ndarray, pixels: int) -> np.ndarray:
    octets = np.ascontiguousarray(bitmap).view(np.uint8)
    return np.unpackbits(octets, axis=-1, bitorder="little")[..., :pixels].astype(bool)


@st.composite
def stacks(draw: st.DrawFn) -> np.ndarray:
    """bool[n h w]: sizes on both sides of one and two words."""
    h, w = (draw(st.sampled_from([1, 5, 63, 64, 65, 127, 128, 130])) for _ in range(2))
    return np.stack([draw(masks(h, w)) for _ in range(draw(st.integers(1, 3)))])


@given(stacks())
def test_packed_counted_and_bounded(stack: np.ndarray) -> None:
    width = stack.shape[2]
    bitmap = packed_masks.pack(stack)
    np.testing.assert_array_equal(unpacked(bitmap, width), stack)
    assert packed_masks.count(bitmap).tolist() == stack.sum((1, 2)).tolist()
    edges = packed_masks.boundary(bitmap, width)
    assert packed_masks.count(edges).tolist() == [plain_boundary(mask).sum() for mask in stack]
    np.testing.assert_array_equal(unpacked(edges, width), np.stack([plain_boundary(mask) for mask in stack]))


@given(stacks())
def test_coco_codes_give_the_same_bits_down_columns(stack: np.ndarray) -> None:
    height, width = stack.shape[1:]
    bitmap = packed_masks.unpack_counts([encode(mask) for mask in stack], (height, width))
    held = np.flatnonzero(stack.any((0, 1)))
    first = max(int(held[0]) - 1, 0) if len(held) else 0
    part = stack[:, :, first : first + bitmap.shape[1]]
    np.testing.assert_array_equal(unpacked(bitmap, height), part.transpose(0, 2, 1))
    assert packed_masks.count(bitmap).tolist() == stack.sum((1, 2)).tolist()
    edges = packed_masks.boundary(bitmap, height)
    assert packed_masks.count(edges).tolist() == [plain_boundary(mask).sum() for mask in stack]


@given(stacks(), st.sampled_from([0.0, 1.0, 3.0, 8.0, 18.0, 70.0]))
def test_near_is_dilation_by_a_disc(stack: np.ndarray, reach: float) -> None:
    stack[:, [0, -1], 0] = stack[:, [0, -1], -1] = True  # or the crop would leave lines out
    found = packed_masks.dilated(packed_masks.cropped(packed_masks.pack(stack), gap=2 * int(reach)), reach)
    side = np.arange(-int(reach), int(reach) + 1)
    disc = (side[:, None] ** 2 + side**2 <= reach**2).astype(np.uint8)
    want = np.stack([cv2.dilate(mask.astype(np.uint8), disc) for mask in stack]).astype(bool)
    np.testing.assert_array_equal(unpacked(found, stack.shape[2]), want)


def test_the_disc_of_opencv_is_the_plain_one() -> None:
    point = np.zeros((40, 40), bool)
    point[20, 17] = point[3, 39] = True
    packed = packed_masks.pack(np.concatenate([point[None], ~point[None]]))
    found = packed_masks.dilated(packed_masks.cropped(packed, 16), 8.0)
    np.testing.assert_array_equal(unpacked(found, 40)[0], plain_dilation(point, 8))


def test_popcount_without_numpy_2(monkeypatch: pytest.MonkeyPatch) -> None:
    bitmap = np.random.default_rng(0).integers(0, 2**63, (3, 5, 2), np.uint64)
    want = packed_masks.count(bitmap)
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    assert packed_masks.count(bitmap).tolist() == want.tolist()


@pytest.mark.parametrize("kind", ["dense", "codes"])
def test_more_frames_than_a_batch_at_a_benchmarks_size(kind: str) -> None:
    """Against the official way at 480x854; a truth that moves away, so that every frame has another F."""
    y, x = np.ogrid[:480, :854]
    pred = np.stack([(y - 240) ** 2 + (x - 300) ** 2 < 100**2] * 24)
    truth = np.stack([(y - 240) ** 2 + 2 * (x - 300 - i) ** 2 < 110**2 for i in range(24)])
    disc = (np.arange(-8, 9)[:, None] ** 2 + np.arange(-8, 9) ** 2 <= 64).astype(np.uint8)
    found = j_and_f(pred, truth) if kind == "dense" else j_and_f(*(_track(m) for m in (pred, truth)))
    for i in (0, 7, 23):
        p, t = plain_boundary(pred[i]), plain_boundary(truth[i])
        precision = (p & cv2.dilate(t.astype(np.uint8), disc).astype(bool)).sum() / p.sum()
        recall = (t & cv2.dilate(p.astype(np.uint8), disc).astype(bool)).sum() / t.sum()
        assert found.contours[i] == pytest.approx(2 * precision * recall / (precision + recall), abs=1e-12)
        assert found.regions[i] == pytest.approx((pred[i] & truth[i]).sum() / (pred[i] | truth[i]).sum(), abs=1e-12)
    assert len(set(found.contours)) > 10


def _track(masks: np.ndarray):
    from revseg.masks import MaskTrack

    return MaskTrack.from_dense(masks)


def test_runs_of_no_pixel_and_codes_of_another_size() -> None:
    odd = coco.frPyObjects({"size": [4, 3], "counts": [2, 0, 3, 1, 0, 2, 4]}, 4, 3)["counts"]
    bitmap = packed_masks.unpack_counts([odd], (4, 3))
    want = coco.decode({"size": [4, 3], "counts": odd}).astype(bool)
    assert packed_masks.count(bitmap)[0] == want.sum() == 3
    for codes, size in (([odd], (4, 4)), ([odd, b""], (4, 3)), ([odd[:-1]], (4, 3))):
        with pytest.raises(InputError, match="expected run-length counts of"):
            packed_masks.unpack_counts(codes, size)
