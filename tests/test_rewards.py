"""Rewards: hand-computed examples, and properties over boxes, areas and failures."""

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import revseg
from revseg.errors import InputError, PartError, SpecError
from revseg.masks import MaskTrack
from revseg.rewards import PRESETS, resolve_weights, reward_name, score
from revseg.types import Answer, Clip, Message, Query, Reply, Rollout, Target, Turn

H, W = 40, 80
FULL = (0, 0, W, H)
NAMES = revseg.names("reward")


def track(*objects: list[tuple[int, int, int, int] | None], ids: list[int] | None = None) -> MaskTrack:
    """A truth of filled boxes: per object one box in pixels, or None, a frame."""
    masks = np.zeros((len(objects), len(objects[0]), H, W), bool)
    for o, boxes in enumerate(objects):
        for t, box in enumerate(boxes):
            if box is not None:
                x1, y1, x2, y2 = box
                masks[o, t, y1:y2, x1:x2] = True
    return MaskTrack.from_dense(masks, ids)


def unit(*boxes: tuple[float, float, float, float]) -> np.ndarray:
    return (np.array(boxes, np.float64).reshape(-1, 4) / [W, H, W, H]).astype(np.float32)


def turn(answer: Answer, text: str = "a b c", tokens: int = 3) -> Turn:
    reply = Reply(text, np.zeros(tokens, np.int64), np.zeros(tokens, np.float32))
    clip = Clip(np.zeros((1, 8, 8, 3), np.uint8), np.zeros(1, np.int64))
    return Turn(Message("user", ("?",)), reply, answer, clip)


def in_order(planned: int, *turns: Turn) -> tuple[Turn, ...]:
    """Turns of a plan of so many rounds."""
    return tuple(replace(turn, then=max(planned - number, 0)) for number, turn in enumerate(turns, 1))


def rollout(*answers: Answer, frames: int = 3, ids: list[int] | None = None, planned: int = 2) -> Rollout:
    frame_ids = np.arange(frames) if ids is None else np.array(ids)
    clip = Clip(np.zeros((len(frame_ids), 8, 8, 3), np.uint8), frame_ids)
    return Rollout(clip, Query("q7", "which one?"), in_order(planned, *(turn(answer) for answer in answers)))


def two_rounds(*found: tuple[int, str, list[tuple[float, float, float, float]]], frames: int = 3) -> Rollout:
    """A parsed rollout: (keyframe, description, boxes in pixels) per target."""
    first = Answer(tuple(Target(keyframe, description) for keyframe, description, _ in found))
    second = Answer(tuple(Target(boxes=unit(*boxes)) for _, _, boxes in found))
    return rollout(first, second, frames=frames)


def value(spec: str, given_: Rollout, truth: MaskTrack) -> float:
    return float(revseg.build("reward", spec)(given_, truth))


GROWING = track([None, (0, 0, 10, 10), (0, 0, 20, 20), (10, 10, 40, 40)])  # areas 0, 100, 400, 900


# --- one reward at a time -----------------------------------------------------------------------------------------


def test_temporal_is_equation_7() -> None:
    scores = [value("temporal", two_rounds((k, "it", [FULL]), frames=4), GROWING) for k in range(4)]
    assert scores == pytest.approx([0, 1 / 9, 4 / 9, 1])
    later = replace(GROWING.at([1, 2, 3]), frame_ids=np.arange(3))
    # visible everywhere: the smallest frame earns 0 although the target is there
    scores = [value("temporal", two_rounds((k, "it", [FULL])), later) for k in range(3)]
    assert scores == pytest.approx([0, 3 / 8, 1])


def test_temporal_0_1_asks_only_whether_the_target_is_there() -> None:
    scores = [value("temporal:soft=False", two_rounds((k, "it", [FULL]), frames=4), GROWING) for k in range(4)]
    assert scores == [0, 1, 1, 1]


def test_temporal_gives_1_where_visible_when_all_areas_are_equal() -> None:
    # 7 of 80 pixels at changing places: unit coordinates round differently, the area in pixels does not.
    moving = track([(x, 3, x + 7, 10) for x in (0, 13, 29, 44, 61, 73)])
    assert [value("temporal", two_rounds((k, "", [FULL]), frames=6), moving) for k in range(6)] == [1.0] * 6


def test_temporal_survives_a_failed_round_2_and_reads_the_mean_of_several_targets() -> None:
    failed = rollout(Answer((Target(3, "it"),)), Answer(error="no_json", form=0.0), frames=4)
    assert value("temporal", failed, GROWING) == 1
    assert value("spatial", failed, GROWING) == 0
    several = two_rounds((3, "a", [FULL]), (1, "b", [FULL]), frames=4)
    assert value("temporal", several, GROWING) == pytest.approx((1 + 1 / 9) / 2)


def test_temporal_reads_all_objects_together() -> None:
    both = track([(0, 0, 10, 10), (0, 0, 20, 20)], [(70, 0, 80, 10), None])  # box around both: 800, then 400
    assert value("temporal", two_rounds((0, "both", [FULL]), frames=2), both) == 1
    assert value("temporal", two_rounds((1, "both", [FULL]), frames=2), both) == 0


def test_spatial_is_iou_above_one_half() -> None:
    truth = track([(0, 0, 20, 20)] * 3)
    half, more = two_rounds((1, "", [(0, 0, 20, 10)])), two_rounds((1, "", [(0, 0, 20, 11)]))
    assert value("iou", half, truth) == pytest.approx(0.5)
    assert (value("spatial", half, truth), value("spatial", more, truth)) == (0, 1)
    assert value("spatial:threshold=0.6", more, truth) == 0
    assert value("spatial:soft=True", half, truth) == 0
    assert value("spatial:soft=True", more, truth) == pytest.approx(0.55)


def test_box_rewards_take_the_box_around_several_targets() -> None:
    truth = track([(0, 0, 10, 10)] * 3, [(20, 0, 30, 10)] * 3)
    apart = two_rounds((1, "left", [(0, 0, 10, 10)]), (1, "right", [(20, 0, 30, 10)]))
    assert value("iou", apart, truth) == pytest.approx(1)
    one = two_rounds((1, "left", [(0, 0, 10, 10)]))
    assert value("iou", one, truth) == pytest.approx(1 / 3)
    frames = two_rounds((0, "left", [(0, 0, 10, 10)]), (1, "both", [(0, 0, 30, 10)]))
    assert value("iou", frames, truth) == pytest.approx((1 / 3 + 1) / 2)


def test_boxes_on_a_frame_without_the_target_earn_nothing() -> None:
    given_ = two_rounds((0, "it", [(0, 0, 10, 10)]), frames=4)
    assert [value(name, given_, GROWING) for name in ("spatial", "iou", "box_l1", "hungarian")] == [0] * 4


def test_box_l1_falls_in_a_line() -> None:
    truth = track([(0, 0, 40, 20)] * 3)
    off = two_rounds((0, "", [(0, 0, 48, 20)]))  # one side of four off by a tenth of the width: mean 0.025
    assert value("box_l1", off, truth) == pytest.approx(0.75)
    assert value("box_l1:scale=0.05", off, truth) == pytest.approx(0.5)
    assert value("box_l1:scale=0.05,soft=False", off, truth) == 1
    assert value("box_l1:scale=0.02,soft=False", off, truth) == 0


def test_hungarian_matches_objects_in_any_order() -> None:
    truth = track([(0, 0, 10, 10)] * 3, [(20, 0, 30, 10)] * 3)
    right, left = (20, 0, 30, 10), (0, 0, 10, 5)
    assert value("hungarian", two_rounds((1, "r", [right]), (1, "l", [left])), truth) == pytest.approx(0.75)
    assert value("hungarian", two_rounds((1, "both", [right, left])), truth) == pytest.approx(0.75)
    assert value("hungarian", two_rounds((1, "r", [right])), truth) == pytest.approx(0.5)
    beside = (20, 0, 30, 9)  # a superfluous box costs; the same box again is no other instance
    assert value("hungarian", two_rounds((1, "r", [right, beside, left])), truth) == pytest.approx(0.5)
    assert value("hungarian", two_rounds((1, "r", [right, right, left])), truth) == pytest.approx(0.75)
    assert value("hungarian", two_rounds((1, "all", [(0, 0, 30, 10)])), truth) == pytest.approx(1 / 6)


def test_hungarian_matches_greatest_sum_not_greedily() -> None:
    truth = track([(0, 0, 10, 10)] * 3, [(0, 10, 10, 20)] * 3)
    # The first box overlaps object 0 by 0.5 and object 1 by 1/3; the second only object 0, by 0.45.
    given_ = two_rounds((0, "", [(0, 0, 10, 20), (0, 0, 5, 9)]))
    assert value("hungarian", given_, truth) == pytest.approx((0.5 + 0.45) / 2)


def test_hungarian_counts_an_object_on_two_keyframes_once() -> None:
    truth = track([(0, 0, 10, 10), (0, 0, 20, 20), (0, 0, 20, 20)])
    again = two_rounds((0, "the dog", [(0, 0, 10, 10)]), (1, "the dog", [(0, 0, 20, 10)]))
    assert value("hungarian", again, truth) == pytest.approx(0.75)
    assert value("hungarian", two_rounds((0, "a", [(0, 0, 10, 10)]), (1, "b", [(0, 0, 20, 10)])), truth) == 0.5


def test_format_averages_the_rounds_that_were_due() -> None:
    truth = track([FULL] * 3)
    good = Answer((Target(1, "it"),))
    assert value("format", rollout(Answer((Target(1, "it"),), form=0.8), Answer(form=0.5)), truth) == pytest.approx(
        0.65
    )
    assert value("format", rollout(Answer(error="no_json", form=0.5)), truth) == pytest.approx(0.25)
    assert value("format", rollout(good), truth) == pytest.approx(0.5)  # the second round is still due
    assert value("format", rollout(Answer(form=0.9)), truth) == pytest.approx(0.9)  # "not in the video" ends it
    assert value("format", rollout(good, Answer(error="x", form=0.25)), truth) == pytest.approx(0.625)


def test_no_target_wants_absent_exactly_when_it_is() -> None:
    here, gone = track([FULL] * 3), track([None] * 3)
    absent, found = rollout(Answer()), two_rounds((0, "it", [FULL]))
    assert (value("no_target", absent, gone), value("no_target", absent, here)) == (1, 0)
    assert (value("no_target", found, gone), value("no_target", found, here)) == (0, 1)
    begun = Answer((Target(0, "it"),))
    for broken in (rollout(Answer(error="no_json")), rollout(begun, Answer(error="no_box")), rollout(begun), rollout()):
        assert (value("no_target", broken, gone), value("no_target", broken, here)) == (0, 0)


def test_repetition_is_the_share_of_distinct_n_grams() -> None:
    def said(*texts: str) -> Rollout:
        bare = rollout(planned=len(texts))
        return Rollout(bare.clip, bare.query, tuple(turn(Answer(), text) for text in texts))

    truth = track([FULL] * 3)
    assert value("repetition:n=2", said("a b a b"), truth) == pytest.approx(2 / 3)
    assert value("repetition", said("one two three"), truth) == 1
    assert value("repetition:n=1", said("a b c d", "a b c d"), truth) == 1  # replies are judged apart
    assert value("repetition:n=1", said("a a a a", "a b c d"), truth) == pytest.approx(0.625)
    assert value("repetition", said("loop " * 500), truth) < 0.01


def test_overlong_falls_over_the_buffer() -> None:
    def long(*lengths: int) -> Rollout:
        bare = rollout(planned=len(lengths))
        return Rollout(bare.clip, bare.query, tuple(turn(Answer(), "x", n) for n in lengths))

    truth = track([FULL] * 3)
    spec = "overlong:limit=100,buffer=40"
    assert [value(spec, long(n), truth) for n in (1, 60, 70, 80, 100, 900)] == [1, 1, 0.75, 0.5, 0, 0]
    assert value(spec, long(10, 80), truth) == 0.5  # the longest reply decides
    words = Rollout(long(1).clip, Query("q", "?"), (turn(Answer(), "w " * 80, tokens=0),))
    assert value(spec, words, truth) == 0.5
    assert value("overlong:limit=10,buffer=0", long(10), truth) == 1


# --- every reward -------------------------------------------------------------------------------------------------

pixel_boxes = st.builds(
    lambda x, y, w, h: (x, y, x + w, y + h),
    st.integers(0, W - 20), st.integers(0, H - 20), st.integers(1, 20), st.integers(1, 20),
)  # fmt: skip
tracks = st.lists(st.none() | pixel_boxes, min_size=3, max_size=3)
keyframes = st.integers(0, 2)


# Plain data, built in the test itself: beartype draws random numbers, which Hypothesis forbids inside a strategy.
targets = st.lists(st.tuples(keyframes, st.sampled_from("ab"), st.lists(pixel_boxes, max_size=2)), max_size=3)
endings = st.sampled_from(["whole", "round 1 fails", "round 2 fails", "unfinished", "none"])


def conversation(found: list[Any], ending: str) -> Rollout:
    """A parsed, failed, absent or unfinished conversation."""
    whole = two_rounds(*found)
    if ending == "round 1 fails":
        return rollout(Answer(error="no_json", form=0.3))
    if ending == "round 2 fails":
        return rollout(whole.turns[0].answer, Answer(error="no_box", form=0.7))
    kept = {"whole": 2, "unfinished": 1, "none": 0}[ending]
    return Rollout(whole.clip, whole.query, whole.turns[:kept])


@given(found=targets, ending=endings, objects=st.lists(tracks, min_size=1, max_size=2))
@settings(max_examples=60, deadline=None)
def test_every_reward_stays_in_0_1_and_repeats_itself(found: list[Any], ending: str, objects: list[Any]) -> None:
    given_, truth = conversation(found, ending), track(*objects)
    weights = dict.fromkeys(NAMES, 1.0)
    once, again = score(given_, truth, weights), score(given_, truth, weights)
    assert once.values == again.values
    assert all(0 <= v <= 1 for v in once.values.values())


@given(boxes=tracks)
@settings(max_examples=40, deadline=None)
def test_the_perfect_rollout_earns_1_everywhere(boxes: list[Any]) -> None:
    truth = track(boxes)
    if truth.visible.any():
        best = int(np.argmax([0 if b is None else (b[2] - b[0]) * (b[3] - b[1]) for b in boxes]))
        perfect = two_rounds((best, "it", [boxes[best]]))
    else:
        perfect = rollout(Answer())
    values = score(perfect, truth, dict.fromkeys(NAMES, 1.0)).values
    assert values == pytest.approx(dict.fromkeys(NAMES, 1.0))


@pytest.mark.parametrize("name", sorted({*NAMES} - {"format", "repetition", "overlong"}))
def test_a_rollout_that_never_parsed_earns_nothing(name: str) -> None:
    for truth in (track([FULL] * 3), track([None] * 3)):
        assert value(name, rollout(Answer(error="no_json", form=0.0)), truth) == 0
        assert value(name, rollout(), truth) == 0


@given(
    found=targets,
    ending=endings,
    objects=st.lists(tracks, min_size=1, max_size=2),
    up=st.integers(2, 3),
    wide=st.integers(2, 3),
)
@settings(max_examples=25, deadline=None)
def test_scaling_video_and_boxes_together_changes_nothing(
    found: list[Any], ending: str, objects: list[Any], up: int, wide: int
) -> None:
    given_, truth = conversation(found, ending), track(*objects)
    larger = MaskTrack.from_dense(truth.dense().repeat(up, axis=2).repeat(wide, axis=3))
    weights = dict.fromkeys(NAMES, 1.0)
    assert score(given_, larger, weights).values == pytest.approx(score(given_, truth, weights).values, abs=1e-5)


@given(boxes=tracks, a=keyframes, b=keyframes)
@settings(max_examples=40, deadline=None)
def test_temporal_grows_with_the_area(boxes: list[Any], a: int, b: int) -> None:
    truth = track(boxes)
    areas = [0 if box is None else (box[2] - box[0]) * (box[3] - box[1]) for box in boxes]
    if any(areas) and areas[a] >= areas[b]:
        first, second = (value("temporal", two_rounds((k, "", [FULL])), truth) for k in (a, b))
        assert first >= second


@given(true=pixel_boxes, one=pixel_boxes, two=pixel_boxes)
@settings(max_examples=40, deadline=None)
def test_spatial_grows_with_the_iou(true: Any, one: Any, two: Any) -> None:
    truth = track([true] * 3)
    small, large = sorted((two_rounds((1, "", [box])) for box in (one, two)), key=lambda r: value("iou", r, truth))
    for spec in ("spatial", "spatial:threshold=0.1", "spatial:soft=True", "hungarian"):
        assert value(spec, small, truth) <= value(spec, large, truth) + 1e-12


# --- score --------------------------------------------------------------------------------------------------------


def test_score_aligns_the_truth_with_the_clip() -> None:
    boxes: list[Any] = [None] * 9
    boxes[6] = (0, 0, 20, 20)
    first, second = Answer((Target(6, "it"),)), Answer((Target(boxes=unit((0, 0, 20, 20))),))
    given_ = rollout(first, second, ids=[2, 6, 8])
    breakdown = score(given_, track(boxes), {"format": 1, "temporal": 2, "spatial": 0.5})
    assert breakdown.values == {"format": 1, "temporal": 1, "spatial": 1}
    assert breakdown.total == 3.5
    with pytest.raises(InputError, match="no mask for frames"):
        score(given_, track(boxes[:5]))


def test_presets_and_weights() -> None:
    assert resolve_weights("eq8") == {"format": 1, "temporal": 1, "spatial": 1}
    assert score(two_rounds((0, "", [FULL])), track([FULL] * 3), "fig4").total == pytest.approx(1)
    assert PRESETS["fig4"] == {"format": 0.25, "temporal": 0.15, "spatial": 0.60}
    with pytest.raises(SpecError, match="eq8, fig4"):
        resolve_weights("fig5")
    for weight in (float("nan"), float("inf"), True):
        with pytest.raises(SpecError, match="'temporal': expected a finite number"):
            resolve_weights({"temporal": weight})


def half(given_: Rollout, truth: MaskTrack, *, high: float = 0.5) -> float:
    return high


def test_rewards_are_named_by_their_spec() -> None:
    given_, truth = two_rounds((0, "", [FULL])), track([FULL] * 3)
    weights = {"temporal:soft=False": 1, half: 2, functools.partial(half, high=0.75): 1}
    breakdown = score(given_, truth, weights)
    path = f"{__name__}:half"
    assert breakdown.values == {"temporal:soft=False": 1, path: 0.5, f"{path}:high=0.75": 0.75}
    assert breakdown.total == 2.75
    assert reward_name(revseg.build("reward", "temporal")) == "revseg.rewards.temporal:temporal"


def test_a_reward_in_a_file_is_run_once(tmp_path: Any) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "count = 0\n"
        "def mine(rollout, truth, *, by=1):\n"
        "    global count\n"
        "    count += by\n"
        "    return min(count / 4, 1)\n"
    )
    given_, truth = two_rounds((0, "", [FULL])), track([FULL] * 3)
    assert [score(given_, truth, {f"{file}:mine:by=2": 1}).total for _ in range(2)] == [0.5, 1]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -0.01, 1.01, 2, "1", None, [1.0], np.ones(1)])
def test_a_reward_that_breaks_its_contract_stops_the_run(bad: Any) -> None:
    def broken(given_: Rollout, truth: MaskTrack) -> Any:
        return bad

    with pytest.raises(PartError, match=r"broken.*'q7': expected a number in \[0, 1\]"):
        score(two_rounds((0, "", [FULL])), track([FULL] * 3), {broken: 1})


def test_a_reward_that_raises_is_named_too() -> None:
    def raises(given_: Rollout, truth: MaskTrack) -> float:
        raise ZeroDivisionError("by me")

    with pytest.raises(PartError, match=r"raises.*'q7'.*by me") as caught:
        score(two_rounds((0, "", [FULL])), track([FULL] * 3), {raises: 1})
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("good", [True, False, 0, 1, 0.5, np.float32(0.5), np.int64(1), np.bool_(True)])
def test_numbers_of_any_kind_pass(good: Any) -> None:
    assert score(two_rounds((0, "", [FULL])), track([FULL] * 3), {lambda r, t: good: 1}).total == float(good)


def test_unknown_rewards_and_options_name_the_nearest() -> None:
    given_, truth = two_rounds((0, "", [FULL])), track([FULL] * 3)
    with pytest.raises(SpecError, match="Did you mean 'temporal'"):
        score(given_, truth, {"temporol": 1})
    with pytest.raises(SpecError, match="Did you mean 'soft'"):
        score(given_, truth, {"temporal:sotf=1": 1})
