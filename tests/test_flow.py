"""The weight-free tracker: exact on flat shapes, right on small textured scenes, honest when the target is gone."""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from parts import built

from revseg.errors import InputError
from revseg.masks import MaskTrack
from revseg.trackers.flow.blob import likeness
from revseg.trackers.flow.colour import Colour, find_flat, main_colours
from revseg.trackers.flow.first_mask import first_mask, histogram
from revseg.trackers.flow.flat import FlatFollower
from revseg.trackers.flow.real import RealFollower
from revseg.trackers.flow.scene import COLOUR_BINS, Plate, Scene, View
from revseg.trackers.flow.tracker import FlowTracker
from revseg.types import Grounding
from revseg.video import Video

RED, GREEN, BLUE, GREY = (225, 30, 35), (30, 175, 50), (40, 70, 240), (60, 60, 60)
Draw = Callable[[int, np.ndarray], object]


def film(draw: Draw, t: int = 24, size: tuple[int, int] = (80, 120), ground: np.ndarray | None = None) -> Video:
    frames = np.empty((t, *size, 3), np.uint8)
    frames[:] = np.asarray(GREY, np.uint8) if ground is None else ground
    for i, frame in enumerate(frames):
        draw(i, frame)
    return Video("film", size, 10.0, t, lambda ids: frames[ids])


def square(frame: np.ndarray, x: int, y: int, side: int, colour: tuple[int, int, int]) -> np.ndarray:
    """Draws a square and gives its mask."""
    mask = np.zeros(frame.shape[:2], bool)
    mask[max(y, 0) : max(y + side, 0), max(x, 0) : max(x + side, 0)] = True
    frame[mask] = colour
    return mask


def prompt(frame_id: int, box: tuple[float, ...], size: tuple[int, int] = (80, 120), **more: Any) -> Grounding:
    unit = np.asarray([box], np.float32) / np.tile(np.asarray(size[::-1], np.float32), 2)
    return Grounding(frame_id, unit, **more)


def region(track: MaskTrack, truth: np.ndarray, row: int = 0) -> np.ndarray:
    """IoU per frame, 1 where both are empty."""
    found = track.dense()[row]
    union = (found | truth).sum((1, 2))
    return np.where(union > 0, (found & truth).sum((1, 2)) / np.maximum(union, 1), 1.0)


def test_follows_a_moving_shape_both_ways_exactly():
    truth = np.zeros((24, 80, 120), bool)

    def draw(i, frame):
        truth[i] = square(frame, 5 + 4 * i, 20 + i, 14, RED)

    track = FlowTracker()(film(draw), [prompt(12, (53, 32, 67, 46))])
    assert track.dense().shape == (1, 24, 80, 120)
    assert track.frame_ids.tolist() == list(range(24))
    assert (track.dense()[0] == truth).all()
    assert (track.scores > 0.8).all()


def test_loose_box_still_gives_the_exact_shape():
    truth = np.zeros((8, 80, 120), bool)

    def draw(i, frame):
        truth[i] = square(frame, 30 + i, 20, 20, BLUE)

    track = FlowTracker()(film(draw, 8), [prompt(0, (27, 18, 53, 44))])
    assert (track.dense()[0] == truth).all()


def test_passes_behind_another_shape_and_comes_back():
    truth = np.zeros((30, 80, 120), bool)

    def draw(i, frame):
        mask = square(frame, 5 + 3 * i, 30, 12, RED)
        truth[i] = mask & ~square(frame, 45, 20, 30, GREEN)

    track = FlowTracker()(film(draw, 30), [prompt(0, (5, 30, 17, 42))])
    hidden = ~truth.any((1, 2))
    assert hidden.any()
    assert region(track, truth).min() > 0.95
    assert not track.visible[hidden].any()


def test_bounces_grows_and_leaves():
    truth = np.zeros((30, 80, 120), bool)

    def draw(i, frame):
        x = 60 + 8 * i if i < 6 else 100 - 8 * (i - 6)  # back from the right border, then out at the left
        truth[i] = square(frame, x, 30, 12 + i // 4, GREEN)

    track = FlowTracker()(film(draw, 30), [prompt(0, (60, 30, 72, 42))])
    assert not truth[-1].any()
    assert (track.dense()[0] == truth).all()
    assert track.scores[0, -1] > 0.8  # nothing of its colour is left: surely absent


def test_is_not_taken_for_another_form_of_the_same_colour():
    truth = np.zeros((24, 80, 120), bool)

    def draw(i, frame):
        cv2.circle(frame, (100, 20), 9, RED, -1)
        if i < 12:  # vanishes for good; the circle stays
            truth[i] = square(frame, 10 + 3 * i, 50, 12, RED)

    track = FlowTracker()(film(draw), [prompt(2, (16, 50, 28, 62))])
    assert (track.dense()[0] == truth).all()
    assert track.visible.tolist() == [True] * 12 + [False] * 12


def test_another_form_that_appears_later_is_not_the_target_come_back():
    truth = np.zeros((24, 80, 120), bool)

    def draw(i, frame):
        if i < 10:
            truth[i] = square(frame, 10 + i, 50, 12, RED)
        elif i >= 14:
            cv2.circle(frame, (100, 20), 9, RED, -1)

    track = FlowTracker()(film(draw), [prompt(2, (12, 50, 24, 62))])
    assert (track.dense()[0] == truth).all()
    assert (track.scores[0, 14:15] < 0.5).all()  # something of its colour is there: it might have been the target


def test_two_of_one_colour_that_pass_keep_their_names():
    truth = np.zeros((30, 80, 120), bool)

    def draw(i, frame):
        cv2.circle(frame, (100 - 3 * i, 30), 9, RED, -1)  # touches it on the way
        truth[i] = square(frame, 10 + 3 * i, 40, 12, RED)

    track = FlowTracker()(film(draw, 30), [prompt(0, (10, 40, 22, 52))])
    assert (track.dense()[0] == truth).all()


def test_noise_and_texture_move_an_edge_by_little():
    rng = np.random.default_rng(0)
    waves = 8 * np.sin(np.arange(120)[None] / 3 + np.arange(80)[:, None] / 5)
    ground = np.clip(np.asarray(GREY) + waves[..., None], 0, 255).astype(np.uint8)
    truth = np.zeros((16, 80, 120), bool)

    def draw(i, frame):
        truth[i] = square(frame, 10 + 4 * i, 20, 20, RED)
        frame[:] = np.clip(frame + rng.normal(0, 6, frame.shape), 0, 255).astype(np.uint8)

    track = FlowTracker()(film(draw, 16, ground=ground), [prompt(4, (26, 20, 46, 40))])
    assert region(track, truth).min() > 0.95


def test_objects_are_rows_and_boxes_of_one_object_unite():
    def draw(i, frame):
        square(frame, 10 + i, 10, 12, RED)
        square(frame, 60 - i, 50, 12, RED)
        square(frame, 90, 20, 12, BLUE)

    video = film(draw, 6)
    pair = np.asarray([[10, 10, 22, 22], [60, 50, 72, 62]], np.float32) / [120, 80, 120, 80]
    groundings = [
        Grounding(0, pair.astype(np.float32), description="both", object_id=7),
        prompt(3, (90, 20, 102, 32), description="still", object_id=2),
    ]
    track = FlowTracker()(video, groundings)
    assert track.names == ("both", "still")
    assert track.scores.shape == (2, 6)
    assert track.select([0]).areas.tolist() == [288] * 6
    assert track.select([1]).areas.tolist() == [144] * 6


def test_a_second_prompt_corrects_the_frames_nearer_to_it():
    truth = np.zeros((21, 80, 120), bool)

    def draw(i, frame):
        truth[i] = square(frame, 10, 10, 12, RED) if i < 11 else square(frame, 80, 50, 12, BLUE)

    video = film(draw, 21)
    alone = FlowTracker()(video, [prompt(0, (10, 10, 22, 22))])
    assert not alone.visible[11:].any()
    both = FlowTracker()(video, [prompt(20, (80, 50, 92, 62)), prompt(1, (10, 10, 22, 22))])
    assert both.objects == 1
    assert (both.dense()[0] == truth).all()


def test_a_point_is_enough():
    truth = np.zeros((5, 80, 120), bool)

    def draw(i, frame):
        truth[i] = square(frame, 30 + i, 20, 16, RED)

    point = np.asarray([[38 / 120, 28 / 80]], np.float32)
    grounding = Grounding(0, np.zeros((0, 4), np.float32), point, np.asarray([True]))
    assert (FlowTracker()(film(draw, 5), [grounding]).dense()[0] == truth).all()


def noise_picture(seed: int, size: tuple[int, int], low: int, high: int) -> np.ndarray:
    """A blotchy picture that no flat colour explains."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(low, high, (size[0] // 6 + 2, size[1] // 6 + 2, 3)).astype(np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def textured(t: int = 30, gone: range = range(0)) -> tuple[Video, np.ndarray]:
    """A blotchy subject that crosses a blotchy room, out of sight on some frames."""
    size = (120, 200)
    subject, truth = noise_picture(1, (40, 30), 120, 255), np.zeros((t, *size), bool)
    subject[..., 2] //= 4

    def draw(i, frame):
        if i not in gone:
            x = 10 + 5 * i
            frame[40:80, x : x + 30] = subject[:, : max(200 - x, 0)]
            truth[i, 40:80, x : x + 30] = True

    return film(draw, t, size, noise_picture(2, size, 0, 160)), truth


def test_follows_a_textured_subject_with_the_plate():
    video, truth = textured()
    track = FlowTracker()(video, [prompt(10, (60, 40, 90, 80), (120, 200))])
    assert region(track, truth).min() > 0.6
    assert np.mean(region(track, truth)) > 0.8


def test_says_absent_when_the_subject_is_gone_and_finds_it_again():
    video, truth = textured(gone=range(12, 18))
    track = FlowTracker()(video, [prompt(4, (30, 40, 60, 80), (120, 200))])
    assert not track.visible[14:18].any()
    assert (track.scores[0, 14:18] <= 0.5).all()
    assert region(track, truth)[22:].min() > 0.6


def test_same_call_twice_gives_the_same_masks():
    video, _ = textured(14)
    asked = [prompt(6, (40, 40, 70, 80), (120, 200))]
    one, two = FlowTracker()(video, asked), FlowTracker()(video, asked)
    assert one.counts == two.counts
    assert (one.scores == two.scores).all()


def test_streams_in_bounded_pieces():
    short = film(lambda i, frame: square(frame, 30 + i, 20, 16, RED), 10)
    pieces: list[int] = []

    def reader(ids):
        pieces.append(len(ids))
        return short.read(ids % 10)

    track = FlowTracker()(Video("long", (80, 120), 10.0, 130, reader), [prompt(60, (30, 20, 46, 36))])
    assert track.visible.all()
    assert max(pieces) <= 64


@pytest.mark.parametrize("frame_id", [-1, 5])
def test_refuses_a_frame_outside_the_video(frame_id):
    with pytest.raises(InputError, match="0 to 4"):
        FlowTracker()(film(lambda i, f: None, 5), [prompt(frame_id, (0, 0, 10, 10))])


def test_refuses_a_grounding_without_box_or_point():
    with pytest.raises(InputError, match="box or a point"):
        FlowTracker()(film(lambda i, f: None, 5), [Grounding(0, np.zeros((0, 4), np.float32))])


def test_no_groundings_no_rows():
    track = FlowTracker()(film(lambda i, f: None, 5), [])
    assert (track.objects, len(track)) == (0, 5)


def test_is_registered_with_its_options():
    tracker = built("tracker", "flow:work_width=320,flat=False")
    assert (tracker.work_width, tracker.flat) == (320, False)
    with pytest.raises(InputError, match="work_width"):
        FlowTracker(work_width=8)


def test_a_colour_takes_the_pixels_nearest_to_it():
    frame = np.full((20, 20, 3), 60, np.uint8)
    frame[:, 10:] = RED
    frame[:, 9] = (np.asarray(GREY) * 0.6 + np.asarray(RED) * 0.4).astype(np.uint8)  # a blurred edge, nearer to grey
    frame[:, 10] = (np.asarray(GREY) * 0.4 + np.asarray(RED) * 0.6).astype(np.uint8)  # and one nearer to red
    found = Colour(np.asarray(RED, np.float64), 30.0).of(frame)
    assert found.sum(0).tolist() == [0] * 10 + [20] * 10
    assert sorted(map(tuple, main_colours(frame).round().astype(int).tolist())) == [GREY, RED]


def test_likeness_by_hand():
    full, half = np.ones((8, 8), bool), np.ones((8, 8), bool)
    half[:4] = False
    assert likeness(full, full) == 1.0
    assert likeness(full, np.ones((16, 16), bool)) == 1.0
    assert likeness(full, half) == pytest.approx(0.5)
    assert likeness(full, np.ones((4, 8), bool)) == pytest.approx(0.5)


def test_no_flat_region_in_a_blotchy_box():
    assert find_flat(noise_picture(3, (60, 60), 0, 255), np.asarray([10, 10, 50, 50])) is None
    view = View(noise_picture(3, (60, 60), 0, 255), 0, None, Scene(film(lambda i, f: None, 3, (60, 60)), 480))
    assert FlatFollower.start(view.frame, np.asarray([10, 10, 50, 50])) is None
    assert isinstance(FlowTracker()._follower(view, np.asarray([10, 10, 50, 50])), RealFollower)


def test_a_shaded_thing_is_not_flat():
    frame = np.full((80, 120, 3), 60, np.uint8)
    frame[20:50, 40:70] = RED
    frame[20:50, 40:70, 1] = np.linspace(30, 110, 30).astype(np.uint8)
    assert find_flat(frame, np.asarray([40, 20, 70, 50])) is None


def test_a_colour_in_specks_is_not_a_flat_thing():
    rng = np.random.default_rng(0)
    frame = np.full((80, 120, 3), 60, np.uint8)
    square(frame, 40, 20, 30, RED)
    assert find_flat(frame, np.asarray([40, 20, 70, 50])) is not None
    for x, y in rng.integers(0, (116, 76), (150, 2)).tolist():
        frame[y : y + 3, x : x + 3] = RED if rng.random() < 0.5 else BLUE
    assert find_flat(frame, np.asarray([40, 20, 70, 50])) is None


def test_plate_is_what_stands_still_though_the_camera_moves():
    room = noise_picture(4, (140, 240), 0, 255)

    def draw(i, frame):
        frame[:] = room[i // 2 : i // 2 + 120, i : i + 200]
        frame[50:70, 5 * i : 5 * i + 20] = 255

    scene = Scene(film(draw, 30, (120, 200)), 480)
    assert scene.plate is not None
    view = View(film(draw, 30, (120, 200)).read([12])[0], 12, None, scene)
    assert view.motion is not None
    assert np.abs(view.motion - [[1, 0, 14 - 12], [0, 1, 7 - 6]]).max() < 0.2  # from the middle sample, frame 14
    assert view.foreground is not None
    assert view.foreground[52:68, 62:78].mean() > 0.8
    assert view.foreground[:40].mean() < 0.1


def test_no_plate_without_anything_to_hold_on_to():
    assert Plate.of(film(lambda i, f: None, 10), 480) is None


def test_histogram_sums_to_one():
    bins = np.zeros((4, 4), np.int64)
    found = histogram(bins, np.ones((4, 4)))
    assert found.sum() == pytest.approx(1.0)
    assert found.shape == (COLOUR_BINS,)


def test_first_mask_stays_in_its_box_and_covers_the_mover():
    video, truth = textured()
    view = View(video.read([10])[0], 10, None, Scene(video, 480))
    mask = first_mask(view, np.asarray([55.0, 35.0, 95.0, 85.0]))
    assert not mask[:, :55].any()
    assert not mask[85:].any()
    assert (mask & truth[10]).sum() / (mask | truth[10]).sum() > 0.8
