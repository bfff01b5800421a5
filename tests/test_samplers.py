"""Which frames each sampler takes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import revseg.registry as registry
from revseg.errors import InputError, SpecError
from revseg.types import Query, Sampler
from revseg.video import Video

QUERY = Query("q", "which one?")


def video_of(length: int, fps: float = 24.0) -> Video:
    """Frame i holds the value i % 256 everywhere."""
    return Video(
        "v",
        (2, 2),
        fps,
        length,
        lambda ids: np.broadcast_to(ids[:, None, None, None] % 256, (len(ids), 2, 2, 3)).astype(np.uint8),
    )


def ids(spec: str, length: int, n: int, fps: float = 24.0) -> list[int]:
    return registry.build("sampler", spec)(video_of(length, fps), QUERY, n).frame_ids.tolist()


@pytest.mark.parametrize(
    ("length", "n", "expected"),
    [
        (10, 4, [0, 3, 6, 9]),
        (100, 16, [0, 7, 13, 20, 26, 33, 40, 46, 53, 59, 66, 73, 79, 86, 92, 99]),  # i * 99 / 15 = 6.6 i
        (6, 3, [0, 3, 5]),  # 2.5 goes up
        (5, 16, [0, 1, 2, 3, 4]),
        (16, 16, list(range(16))),
        (1, 16, [0]),
        (9, 1, [4]),
        (10, 2, [0, 9]),
    ],
)
def test_uniform_by_hand(length: int, n: int, expected: list[int]) -> None:
    assert ids("uniform", length, n) == expected


def test_uniform_is_the_rule_of_qwens_loader() -> None:
    for length in range(16, 400):
        assert ids("uniform", length, 16) == np.linspace(0, length - 1, 16).round().astype(int).tolist()


SPECS = ["uniform", "head", "fps", "fps:rate=0.7", "fps:rate=1000", "stride", "stride:step=3"]


@pytest.mark.parametrize("spec", SPECS)
@given(length=st.integers(1, 5000), n=st.integers(1, 64), fps=st.floats(0.5, 240))
def test_every_rule(spec: str, length: int, n: int, fps: float) -> None:
    sampler = registry.build("sampler", spec)
    assert isinstance(sampler, Sampler)
    clip = sampler(video_of(length, fps), QUERY, n)
    assert 1 <= len(clip) <= min(n, length)
    assert (np.diff(clip.frame_ids) > 0).all()
    assert 0 <= clip.frame_ids[0] <= clip.frame_ids[-1] < length
    assert (clip.frames[:, 0, 0, 0] == clip.frame_ids % 256).all()


@given(length=st.integers(1, 3000), n=st.integers(2, 64))
def test_uniform_is_even_and_takes_both_ends(length: int, n: int) -> None:
    taken = ids("uniform", length, n)
    assert len(taken) == min(n, length)
    assert (taken[0], taken[-1]) == (0, length - 1)
    gaps = np.diff(taken)
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


def test_the_others_by_hand() -> None:
    assert ids("head", 10, 3) == [0, 1, 2]
    assert ids("stride:step=4", 10, 16) == [0, 4, 8]
    assert ids("stride:step=4", 100, 3) == [0, 4, 8]
    assert ids("fps", 60, 16, fps=24) == [0, 12, 24, 36, 48]
    assert ids("fps:rate=2", 200, 16, fps=29.97)[:5] == [0, 15, 30, 45, 60]
    assert ids("fps:rate=24", 100, 4, fps=24) == [0, 33, 66, 99]  # too many: thinned over the whole video
    assert ids("fps:rate=60", 5, 16, fps=24) == [0, 1, 2, 3, 4]
    assert ids("at:frames=[7,2]", 10, 16) == [7, 2]


@pytest.mark.parametrize(
    ("spec", "n", "message"),
    [
        ("at:frames=[]", 16, "1 to 16 different"),
        ("at:frames=[1,1]", 16, "different frames, got \\[1, 1\\]"),
        ("at:frames=[1,2,3]", 2, "1 to 2"),
        ("at:frames=[10]", 16, r"in 0\.\.9, got \[10\]"),
        ("stride:step=0", 16, "step of at least 1"),
        ("fps:rate=0", 16, "rate above 0"),
        ("uniform", 0, "at least 1 frame, got 0"),
        ("head", -1, "at least 1"),
    ],
)
def test_bad_options(spec: str, n: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ids(spec, 10, n)


def test_at_needs_its_frames() -> None:
    with pytest.raises(SpecError, match="frames"):
        registry.build("sampler", "at")
