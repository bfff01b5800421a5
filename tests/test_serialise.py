"""Records read back: conversations without their pixels, judged as they were."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_rows import made_row

import revseg
from revseg.errors import InputError
from revseg.evaluation import Row
from revseg.masks import MaskTrack
from revseg.registry import names
from revseg.rewards import score
from revseg.serialise import record_of, rollout_from, segmentation_from
from revseg.testing import judged, moving_squares
from revseg.testing.parser import same_answer, same_target
from revseg.types import Clip, Message, Query, Rollout, Segmentation, Turn
from revseg.video import Video

REWARDS = dict.fromkeys(names("reward"), 1.0)
SCENE = moving_squares(8, (48, 48))
PLANS = ("two_rounds", "one_round", "per_object", "verified")
KEYFRAME = '[{"frame_idx": 1, "object description": "the \\ud83d square"}]'
TWO = '[{"frame_idx": 1, "object description": "one"}, {"frame_idx": 3, "object description": "two"}]'
BOTH = '[{"frame_idx": 2, "object description": "it", "bbox_2d": [30, 31, 97, 101]}]'
REPLIES = (
    f"<think>far left</think><answer>{KEYFRAME}</answer>",
    f"<think></think><answer>{TWO}</answer>",
    f"<think></think><answer>{BOTH}</answer>",
    "<think></think><answer>[]</answer>",
    '[{"bbox_2d": [211, 212, 633, 631]}]',
    "[]",
    '{"verdict": "yes"}',
    '{"verdict": "no", "reason": "a shadow"}',
    '{"verdict": "absent"}',
    "\ud83d?",
)


def read_back(rollout: Rollout, size: tuple[int, int]) -> tuple[Rollout, dict[str, Any]]:
    video = Video(
        "v", size, 8.0, int(rollout.frame_ids.max()) + 1, lambda ids: np.zeros((len(ids), *size, 3), np.uint8)
    )
    result = Segmentation(rollout, MaskTrack.empty(size, range(len(video))))
    record = json.loads(json.dumps(record_of(result, video)))
    return rollout_from(record), record


def same_clip(one: Clip, other: Clip) -> bool:
    return one.frames.shape == other.frames.shape and one.frame_ids.tolist() == other.frame_ids.tolist()


def same_turn(one: Turn, other: Turn) -> bool:
    if any(getattr(one.prompt, name) != getattr(other.prompt, name) for name in ("role", "text", "asks", "about")):
        return False
    if any(getattr(one.reply, name) != getattr(other.reply, name) for name in ("text", "opened", "finish_reason")):
        return False
    if any(getattr(one.answer, name) != getattr(other.answer, name) for name in ("detail", "windows", "verdict")):
        return False
    plain = [(turn.round, turn.then, len(turn.reply.token_ids)) for turn in (one, other)]
    clips = zip((one.shown, *one.prompt.clips), (other.shown, *other.prompt.clips), strict=True)
    return plain[0] == plain[1] and same_answer(one.answer, other.answer) and all(same_clip(*pair) for pair in clips)


def assert_same(one: Rollout, other: Rollout, truth: MaskTrack) -> None:
    for name in ("status", "error", "detail", "failure", "due", "form", "query"):
        assert getattr(one, name) == getattr(other, name), name
    assert same_clip(one.clip, other.clip)
    assert all(same_turn(a, b) for a, b in zip(one.turns, other.turns, strict=True))
    assert all(same_target(a, b) for a, b in zip(one.targets, other.targets, strict=True))
    places = [[(g.frame_id, g.object_id, g.description, g.boxes.tolist()) for g in r.groundings] for r in (one, other)]
    assert places[0] == places[1]
    assert score(one, truth, REWARDS) == score(other, truth, REWARDS)


@given(judged())
def test_any_rollout_comes_back(case: tuple[Rollout, MaskTrack]) -> None:
    rollout, truth = case
    again, record = read_back(rollout, rollout.clip.size)
    assert_same(rollout, again, truth)
    assert (record["status"], record["error"], record["form"]) == (again.status, again.error, again.form)


@settings(max_examples=60)
@given(st.sampled_from(PLANS), st.lists(st.sampled_from(REPLIES), min_size=6, max_size=6), st.integers(1, 6))
def test_every_plan_comes_back(plan: str, replies: list[str], most: int) -> None:
    policy = {"name": "scripted", "replies": replies}
    model = revseg.ReVSeg(policy=policy, tracker="fill_box", plan=plan, max_rounds=most)
    rollout = model.rollout(SCENE.video, "the square")
    assert_same(rollout, read_back(rollout, SCENE.video.size)[0], SCENE.truth)


def test_a_segmentation_comes_back() -> None:
    model = revseg.ReVSeg(policy={"name": "scripted", "replies": [REPLIES[0], REPLIES[4]]}, tracker="fill_box")
    result = model.segment(SCENE.video, Query("q", "the square"), truth=SCENE.truth)
    again = segmentation_from(json.loads(json.dumps(record_of(result, SCENE.video))), result.masks)
    assert (again.status, again.rewards, again.spec) == ("found", result.rewards, result.spec)
    assert record_of(again, SCENE.video) == record_of(result, SCENE.video)


def test_pictures_that_are_not_held_take_no_memory() -> None:
    record = made_row(0, frame_ids=list(range(10_000)), frame_size=[16_384, 16_384])
    record["rounds"][0]["shown"] = [{"frame_ids": list(range(10_000)), "size": [16_384, 16_384]}] * 3
    record["rounds"][0]["tokens"] = 10**9
    rollout = rollout_from(record)
    assert rollout.turns[0].shown.frames.shape == (30_000, 16_384, 16_384, 3)
    assert rollout.turns[0].shown.frames.strides == (0, 0, 0, 0)
    assert len(rollout.turns[0].reply.token_ids) == 10**9


def test_rows_of_before_still_read() -> None:
    row = Row(made_row(0))
    assert row.rollout is not None
    assert (row.rollout.status, row.rollout.clip.size, [t.then for t in row.rollout.turns]) == (
        "found",
        (24, 32),
        [1, 0],
    )
    assert row.truth is not None
    assert score(row.rollout, row.truth).total == 3
    assert rollout_from(made_row(0, error="too_many_rounds")).error == "too_many_rounds"
    assert Row(made_row(0, rounds=None)).rollout is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"query": None}, "query"),
        ({"frame_ids": []}, "frame_ids"),
        ({"rounds": [{}]}, "rounds"),
        ({"video": None}, "frame_size"),
        ({"rounds": [{**made_row(0)["rounds"][0], "opened": "<no>"}]}, "opened"),
        ({"rounds": [{**made_row(0)["rounds"][0], "shown": [{"frame_ids": [5], "size": [4, 4]}]}]}, "frame_id 2"),
        ({"rounds": [{**made_row(0)["rounds"][0], "tokens": 10**12}]}, "tokens"),
    ],
)
def test_damage_is_one_error(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        rollout_from({**made_row(0), **changes})


def test_a_question_about_a_target_that_is_none_fills_in_nothing() -> None:
    row = made_row(0)
    row["rounds"][1]["about"] = [99]
    assert rollout_from(row).groundings[0].description == "a square"
    assert not len(rollout_from(row).groundings[0].boxes)


def test_a_message_without_pictures_speaks_of_the_clip() -> None:
    row = made_row(0)
    row["rounds"][0]["shown"] = []
    turn = rollout_from(row).turns[0]
    assert isinstance(turn.prompt, Message)
    assert turn.shown.frame_ids.tolist() == row["frame_ids"]
