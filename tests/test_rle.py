"""Run-length codes from outside: right ones pass as they are, wrong ones are one error before pycocotools sees them."""

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from revseg.datasets.coco_masks import rle_counts
from revseg.errors import InputError
from revseg.masks import MaskTrack, coco, encode
from revseg.masks.rle import checked_codes, checked_size, decode_runs

SIZE = (4, 6)


def run_lengths(code: bytes) -> list[int]:
    return decode_runs([code])[0].tolist()


def track(**changes: Any) -> dict[str, Any]:
    return {**MaskTrack.from_dense(np.eye(4, 6, dtype=bool)[None]).to_dict(), **changes}


@pytest.mark.parametrize(
    "counts",
    [
        *("oooo", "", "0", "h", "H0", "o", "\x00\x00", "é", "P" * 20, "oP", "~~~", "d0d0", "o" * 10**6),
        *([[]], [-1, 25], [24.0], [True] * 24, [25], [2**70], [1] * 10**6, 3, None, {}),
    ],
)
def test_what_is_no_code_of_that_size_is_refused(counts: Any) -> None:
    for read in (
        lambda: MaskTrack.from_dict(track(counts=[[counts]])),
        lambda: rle_counts({"size": [4, 6], "counts": counts}, "here"),
    ):
        with pytest.raises(InputError) as caught:
            read()
        assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "size",
    [[10**6, 10**6], [0, 4], [-4, -6], [4.0, 6.0], [True, 24], [4], [4, 6, 1], None, "46", 24, [24, 10**9], [[4], [6]]],
)
def test_sizes_that_no_picture_has_are_refused(size: Any) -> None:
    with pytest.raises(InputError, match="size"):
        MaskTrack.from_dict(track(size=size))
    with pytest.raises(InputError, match="size"):
        rle_counts({"size": size, "counts": "X"}, "here")


@pytest.mark.parametrize(
    "changes",
    [{"frame_ids": ids} for ids in (["0"], [-1], [10**12], [0.0], [None], 3, None, [[0]])]
    + [{"scores": scores} for scores in ([[float("nan")]], [1.0], "x", [[1.0, 1.0]], [["1"]], {}, None, [[10**400]])]
    + [{"names": names} for names in (3, [3], None, {})]
    + [{"counts": counts} for counts in (None, {}, "X", ["X"], [[["X"]]], [[]], 3)],
)
def test_every_other_damage_is_named(changes: dict[str, Any]) -> None:
    (key,) = changes
    with pytest.raises(InputError, match=rf"^r\.jsonl, row 3: masks: not a mask track: {key}"):
        MaskTrack.from_dict(track(**changes), "r.jsonl, row 3: masks")


@given(st.lists(st.binary(max_size=12), max_size=4), st.integers(1, 5), st.integers(1, 5))
def test_no_bytes_pass_that_are_not_masks_of_the_size(codes: list[bytes], height: int, width: int) -> None:
    try:
        passed = checked_codes(codes, (height, width))
    except InputError:
        return
    for code in passed:
        runs = run_lengths(code)
        assert sum(runs) == height * width
        assert min(runs[1:], default=1) > 0
        mask = coco.decode({"size": [height, width], "counts": code})
        assert coco.area({"size": [height, width], "counts": code}) == mask.sum()


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30))
def test_runs_of_no_pixels_are_taken_out(runs: list[int]) -> None:
    """pycocotools writes past its memory when it joins codes with many of them, and gives wrong boxes with one."""
    size = (1, sum(runs) or 1)
    runs = runs if sum(runs) else [1]
    dense = np.repeat(np.arange(len(runs)) % 2, runs).astype(bool)[None]
    raw = coco.frPyObjects({"size": list(size), "counts": runs}, *size)["counts"]
    assert checked_codes([runs, raw], size) == [encode(dense)] * 2


@given(st.lists(st.lists(st.booleans(), min_size=12, max_size=12), min_size=1, max_size=5))
def test_right_codes_are_left_as_they_are(rows: list[list[bool]]) -> None:
    masks = np.array(rows).reshape(-1, 3, 4)
    codes = [encode(mask) for mask in masks]
    assert checked_codes(codes, (3, 4)) == codes
    assert checked_codes([code.decode() for code in codes], (3, 4)) == codes
    runs, counts = decode_runs(codes)
    assert [part.tolist() for part in np.split(runs, np.cumsum(counts)[:-1])] == [run_lengths(code) for code in codes]
    for mask, code in zip(masks, codes, strict=True):
        assert (np.repeat(np.arange(len(run_lengths(code))) % 2, run_lengths(code)) == mask.T.ravel()).all()


def test_codes_of_several_sizes_are_not_joined() -> None:
    codes = [{"size": [2, 2], "counts": [4]}, {"size": [2, 3], "counts": [6]}]
    with pytest.raises(InputError, match="one size"):
        rle_counts(codes, "here")


def test_large_pictures_pass() -> None:
    assert checked_size([8704, 16384]) == (8704, 16384)
    size = (8704, 16384)
    (code,) = checked_codes([[0, 8704 * 16384]], size)
    assert run_lengths(code) == [0, 8704 * 16384]


def test_reading_never_ends_the_process() -> None:
    """In a process of its own: what these tests are about would end this one."""
    bad = [
        track(counts=[["oooo"]]),
        track(counts=[[""]]),
        track(size=[10**6, 10**6]),
        track(counts=[[[0] * 10**5 + [24]]]),
    ]
    code = (
        "import json, sys\nfrom revseg.errors import InputError\nfrom revseg.masks import MaskTrack\n"
        "for data in json.load(sys.stdin):\n    try:\n        MaskTrack.from_dict(data).boxes\n"
        "    except InputError:\n        print('refused')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(bad), capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout.split()) == (0, ["refused"] * 3), done.stderr
