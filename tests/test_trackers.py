"""What every tracker owes, on all registered ones; then `fill_box`, `oracle` and the shared planning by hand."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_sam2 import save_tiny_sam2, save_tiny_sam2_hf
from tiny_sam3 import HAS_SAM3, save_tiny_edgetam, save_tiny_sam3

import revseg
from revseg.errors import InputError
from revseg.masks import MaskTrack
from revseg.registry import registry
from revseg.trackers.prompts import KINDS, nearest, objects_to_track
from revseg.types import Grounding, NeedsTruth, Query, Sample, Tracker
from revseg.video import Video
from revseg.video import video as video_module

LENGTH, SIZE = 9, (30, 41)  # odd on purpose
BOXES_AND_POINTS = frozenset({"box", "point"})
LEFT = np.array([[0.1, 0.2, 0.4, 0.6]], np.float32)
RIGHT = np.array([[0.6, 0.4, 0.9, 0.9]], np.float32)


def points(*xy: tuple[float, float]) -> np.ndarray:
    return np.array(xy, np.float32).reshape(-1, 2)


def a_video(length: int = LENGTH, size: tuple[int, int] = SIZE) -> Video:
    frames = np.random.default_rng(1).integers(0, 90, (1, *size, 3), np.uint8).repeat(length, 0)
    h, w = size
    for t in range(length):
        frames[t, h // 4 : h // 2, w // 8 + t : w // 3 + t] = (240, 60, 40)

    def reader(ids: np.ndarray) -> np.ndarray:
        found = frames[ids]
        found.flags.writeable = False  # some readers lend their own buffer
        return found

    return Video("clip", size, 8.0, length, reader)


SAVE = {
    "sam2": save_tiny_sam2,
    "sam2_hf": save_tiny_sam2_hf,
    **({"sam3": save_tiny_sam3} if HAS_SAM3 else {}),
    "edgetam": save_tiny_edgetam,
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Specs of the trackers that need weights."""
    specs = {}
    for name, save in SAVE.items():
        folder = tmp_path_factory.mktemp(name)
        save(folder)
        specs[name] = f"{name}:model={folder}"
    return {**specs, "sam3_concept": specs["sam3"].replace("sam3", "sam3_concept", 1)} if HAS_SAM3 else specs


@pytest.fixture(params=revseg.names("tracker"))
def tracker(request: pytest.FixtureRequest, models: dict[str, str]) -> Tracker:
    if request.param.startswith("sam3") and not HAS_SAM3:
        pytest.skip("transformers is too old for SAM 3")
    part = revseg.build("tracker", models.get(request.param, request.param))
    if isinstance(part, NeedsTruth):
        masks = np.zeros((LENGTH, *SIZE), bool)
        masks[:, 6:18, 4:16] = True
        return knowing(part, MaskTrack.from_dense(masks))
    return part


def knowing(part: Any, truth: MaskTrack) -> Tracker:
    """The oracle, bound to a truth."""
    return part.with_truth([Sample(a_video(), Query("q", "the square"), truth)])


def test_a_tracker_answers_for_the_whole_video(tracker: Tracker) -> None:
    assert isinstance(tracker, Tracker)
    groundings = [Grounding(4, LEFT, description="one"), Grounding(0, RIGHT, description="two", object_id=7)]
    got = tracker(a_video(), groundings)
    assert (got.objects, got.size, got.names) == (2, SIZE, ("one", "two"))
    np.testing.assert_array_equal(got.frame_ids, np.arange(LENGTH))
    assert got.scores.min() >= 0
    assert got.scores.max() <= 1
    again = tracker(a_video(), groundings)
    assert again.counts == got.counts
    np.testing.assert_array_equal(again.scores, got.scores)


@pytest.mark.parametrize("tracker", ["fill_box", "oracle", *SAVE], indirect=True)
def test_objects_do_not_disturb_one_another(tracker: Tracker) -> None:
    """What streams together equals what is tracked alone, also where the keyframes differ."""
    groundings = [Grounding(5, LEFT), Grounding(2, RIGHT, object_id=1)]
    both = tracker(a_video(), groundings)
    for row, grounding in enumerate(groundings):
        assert tracker(a_video(), [grounding]).counts[0] == both.counts[row]


def test_nothing_grounded_is_a_track_of_no_objects(tracker: Tracker) -> None:
    got = tracker(a_video(), [])
    assert (got.objects, len(got)) == (0, LENGTH)
    assert not got.union().visible.any()


def test_a_video_of_one_frame(tracker: Tracker) -> None:
    if isinstance(tracker, NeedsTruth):
        pytest.skip("knows a longer video")
    assert len(tracker(a_video(1), [Grounding(0, LEFT, description="one")])) == 1


def test_boxes_of_one_grounding_are_united(models: dict[str, str]) -> None:
    """Two boxes of one grounding: the union of what each gives, with the lesser score."""
    for spec in ("fill_box", *(models[name] for name in SAVE)):
        tracker = revseg.build("tracker", spec)
        apart = [tracker(a_video(), [Grounding(3, box)]) for box in (LEFT, RIGHT)]
        united = tracker(a_video(), [Grounding(3, np.concatenate([LEFT, RIGHT]))])
        np.testing.assert_array_equal(united.dense(), apart[0].dense() | apart[1].dense())
        np.testing.assert_array_equal(united.scores, np.minimum(apart[0].scores, apart[1].scores))


def test_fill_box_fills_the_nearest_prompted_frames_box() -> None:
    """Worked by hand: a frame of 10x20 and two prompts, on frames 1 and 4."""
    video = Video("v", (10, 20), 5.0, 6, lambda ids: np.zeros((len(ids), 10, 20, 3), np.uint8))
    early = Grounding(1, np.array([[0.1, 0.2, 0.3, 0.5]], np.float32))
    late = Grounding(4, np.array([[0.5, 0.5, 0.51, 0.51]], np.float32))
    got = revseg.build("tracker", "fill_box")(video, [late, early])
    np.testing.assert_allclose(got.boxes[:3], [[0.1, 0.2, 0.3, 0.5]] * 3)
    np.testing.assert_allclose(got.boxes[3:], [[0.5, 0.5, 0.55, 0.6]] * 3)  # never less than a pixel
    np.testing.assert_array_equal(got.areas, [12, 12, 12, 1, 1, 1])


@given(st.tuples(*[st.integers(0, 31)] * 4))
def test_the_box_of_a_filled_box_is_the_box(corners: tuple[int, int, int, int]) -> None:
    (x1, x2), (y1, y2) = sorted(corners[:2]), sorted(corners[2:])
    box = np.array([[x1, y1, x2 + 1, y2 + 1]], np.float32) / 32
    got = revseg.build("tracker", "fill_box")(a_video(2, (32, 32)), [Grounding(1, box)])
    np.testing.assert_allclose(got.boxes, box.repeat(2, 0))


def truth_of_two() -> MaskTrack:
    masks = np.zeros((2, 3, *SIZE), bool)
    masks[0, :, 6:18, 4:16] = True
    masks[1, :, 12:27, 25:36] = True
    masks[1, 2] = False
    return MaskTrack.from_dense(masks, frame_ids=[0, 4, 8])


def test_the_oracle_tracks_what_is_boxed() -> None:
    oracle = revseg.build("tracker", "oracle")
    with pytest.raises(InputError, match="has no truth"):
        oracle(a_video(), [])
    truth = truth_of_two()
    oracle = knowing(oracle, truth)
    left, right, nowhere = LEFT, RIGHT, np.array([[0.0, 0.95, 0.05, 1.0]], np.float32)
    got = oracle(a_video(), [Grounding(5, box, object_id=i) for i, box in enumerate((right, nowhere, left))])
    # frames 0..8 take the truth of 0 0 0 4 4 4 4 8 8; of two as near (2 and 6) the earlier
    want = truth.at([0, 0, 0, 4, 4, 4, 4, 8, 8])
    assert got.counts[0] == want.counts[1]
    assert not got.select([1]).visible.any()
    assert got.counts[2] == want.counts[0]
    both = oracle(a_video(), [Grounding(0, np.concatenate([left, right]))])
    assert both.counts[0] == want.union().counts[0]
    oracle = knowing(oracle, MaskTrack.empty((5, 5), [0]))
    with pytest.raises(InputError, match=r"of the size of 'clip', \(30, 41\), got \(5, 5\)"):
        oracle(a_video(), [Grounding(0, left)])


def test_boxes_and_points_are_paired_with_instances() -> None:
    two = np.concatenate([LEFT, RIGHT])
    marks, labels = points((0.75, 0.5), (0.95, 0.1), (0.05, 0.2), (0.3, 0.3)), np.array([True, True, True, False])
    groundings = [
        Grounding(6, LEFT, description="dogs", object_id=3),
        Grounding(2, two, marks, labels, object_id=3),
        Grounding(4, two[:0], points((0.3, 0.3)), np.array([True]), object_id=3),
        Grounding(2, RIGHT, description="cat", object_id=1),
    ]
    dogs, cat = objects_to_track(a_video(), groundings, BOXES_AND_POINTS)
    assert (dogs.name, cat.name, len(cat.instances)) == ("dogs", "cat", 1)
    first, second = dogs.instances
    assert [p.frame_id for p in first] == [2, 4, 6]
    assert [p.frame_id for p in second] == [2]
    np.testing.assert_array_equal(first[0].points, marks[[2, 3]])  # the nearest one on it, and the one off it
    np.testing.assert_array_equal(second[0].points, marks[[0, 1, 3]])
    np.testing.assert_array_equal(second[0].labels, [True, True, False])
    assert first[1].box is None


def test_groundings_of_one_object_on_one_frame_are_its_instances() -> None:
    (one,) = objects_to_track(a_video(), [Grounding(2, LEFT), Grounding(2, RIGHT)], BOXES_AND_POINTS)
    assert [instance[0].box is not None for instance in one.instances] == [True, True]


@pytest.mark.parametrize(
    ("grounding", "message"),
    [
        (Grounding(LENGTH, LEFT), "expected a frame of 'clip', 0 to 8, got frame_id 9"),
        (Grounding(-1, LEFT), "got frame_id -1"),
        (Grounding(0, LEFT * 100), "divide pixels by the frame's width and height"),
        (Grounding(0, LEFT[:, [2, 1, 0, 3]]), "expected unit boxes"),
        (Grounding(0, LEFT * np.float32(np.nan)), "expected unit boxes"),
        (Grounding(0, LEFT[:0]), "expected a box or a point on the target on frame 0, got nothing"),
        (Grounding(0, LEFT[:0], points((0.5, 0.5)), np.array([False])), "expected a box or a point on the target"),
        (Grounding(0, LEFT[:0], description="a dog"), "got a description: .* a tracker that starts from a description"),
        (Grounding(0, LEFT, points((5, 0.5)), np.array([True])), r"expected unit points in \[0, 1\]"),
    ],
)
def test_a_grounding_outside_the_video_is_refused(grounding: Grounding, message: str) -> None:
    with pytest.raises(InputError, match=message):
        revseg.build("tracker", "flow")(a_video(), [grounding])


BUILT_IN = [name for name in revseg.names("tracker") if registry("tracker").get(name).__module__.startswith("revseg.")]


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_tracker_says_what_it_can_start_from(name: str, models: dict[str, str]) -> None:
    part = registry("tracker").get(name)
    assert isinstance(part.prompts, frozenset)
    assert part.prompts
    assert part.prompts <= KINDS.keys()
    if name.startswith("sam3") and not HAS_SAM3:
        pytest.skip("this release of transformers has no SAM 3")
    tracker = revseg.build("tracker", models.get(name, name))
    if isinstance(tracker, NeedsTruth):
        tracker = knowing(tracker, MaskTrack.empty(SIZE, range(LENGTH)))
    prompted = {
        "box": Grounding(0, LEFT),
        "point": Grounding(0, LEFT[:0], points((0.3, 0.4)), np.array([True])),
        "text": Grounding(0, LEFT[:0], description="a dog"),
    }
    for kind, grounding in prompted.items():
        if kind in part.prompts:
            assert len(tracker(a_video(), [grounding])) == LENGTH
        else:
            with pytest.raises(InputError, match=f"the tracker expected .*, got {KINDS[kind]}: let a round"):
                tracker(a_video(), [grounding])


@given(st.sets(st.integers(0, 30), min_size=1), st.integers(1, 31))
def test_the_nearest_prompt_is_the_earlier_of_two_as_near(prompted: set[int], length: int) -> None:
    expected = [min(range(len(prompted)), key=lambda i: abs(sorted(prompted)[i] - t)) for t in range(length)]
    assert nearest(np.arange(length), sorted(prompted)).tolist() == expected


@given(st.integers(0, 40), st.integers(1, 7), st.booleans())
def test_frames_are_read_in_order_and_few_at_a_time(length: int, most: int, reverse: bool) -> None:
    sizes = []

    def reader(ids: np.ndarray) -> np.ndarray:
        assert list(ids) == sorted(ids)
        sizes.append(len(ids))
        return np.broadcast_to(ids.astype(np.uint8)[:, None, None, None], (len(ids), 4, 6, 3))

    video = Video("v", (4, 6), 1.0, 50, reader)
    order = range(length, -1, -1) if reverse else range(3, length)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(video_module, "CHUNK_BYTES", most * 4 * 6 * 3)
        got = list(video.stream(order))
    assert [frame_id for frame_id, _ in got] == list(order)
    assert all((frame == frame_id).all() for frame_id, frame in got)
    assert max(sizes, default=0) <= most


def test_importing_the_trackers_loads_no_model_code() -> None:
    import subprocess
    import sys

    code = (
        "import sys, revseg; revseg.names('tracker');"
        "print(sorted({'torch', 'transformers', 'sam2', 'cv2'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
