"""The pipeline: specs in, the whole method out; failures are data."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import revseg
from revseg.errors import InputError, SpecError
from revseg.masks import MaskTrack
from revseg.pipeline import ReVSeg
from revseg.spec import format_spec
from revseg.types import Grounding, Query, Reply, Rollout, Sample, Sampling
from revseg.video import Video

H, W, T = 24, 32, 20


def scene() -> tuple[Video, MaskTrack]:
    """A white square that moves right, largest on frame 19."""
    frames = np.zeros((T, H, W, 3), np.uint8)
    masks = np.zeros((T, H, W), bool)
    for t in range(T):
        masks[t, 4 : 10 + t // 4, t // 2 : t // 2 + 6] = True
    frames[masks] = 255
    return Video.open(frames), MaskTrack.from_dense(masks)


def reply(frame: int, words: str = "a square") -> str:
    return f'<think>t</think><answer>[{{"frame_idx": {frame}, "object description": "{words}"}}]</answer>'


def scripted(*replies: str) -> ReVSeg:
    return ReVSeg(policy={"name": "scripted", "replies": list(replies)}, tracker="fill_box")


def test_the_whole_method_finds_the_box_that_the_reply_names():
    video, truth = scene()
    model = scripted(reply(15), '[{"bbox_2d": [210, 140, 420, 490]}]')  # of an 840 x 840 picture
    result = model.segment(video, "the square", truth)
    assert result.status == "found"
    assert result.rollout.groundings[0].frame_id == 19  # the last of 16 sampled of 20
    expected = np.zeros((H, W), bool)
    expected[4:14, 8:16] = True  # 210/840*32 = 8, 140/840*24 = 4
    assert len(result.masks) == T
    np.testing.assert_array_equal(result.masks.dense([19])[0, 0], expected)
    assert result.rewards is not None
    assert set(result.rewards.values) == {"format", "temporal", "spatial"}
    assert result.rewards.values["temporal"] == 1


def test_the_oracle_is_told_the_truth_and_is_right():
    video, truth = scene()
    result = ReVSeg(policy="oracle", tracker="oracle").segment(video, "the square", truth)
    np.testing.assert_array_equal(result.masks.dense(), truth.dense())
    assert result.rewards is not None
    assert result.rewards.total == 3


@pytest.mark.parametrize(
    ("replies", "status"),
    [
        (["no idea"], "round 1: "),
        ([reply(16)], "round 1: "),
        ([reply(3), "there"], "round 2: "),
        (["<think>t</think><answer>[]</answer>"], "absent"),
    ],
)
def test_without_a_grounding_the_masks_are_empty_and_the_tracker_never_runs(replies: list[str], status: str):
    def tracker(video: Video, groundings: Any) -> MaskTrack:
        raise AssertionError("the tracker ran")

    video, truth = scene()
    result = scripted(*replies).replace(tracker=tracker).segment(video, "the square", truth)
    assert (result.status if result.rollout.error is None else result.rollout.error).startswith(status)
    assert not result.masks.visible.any()
    assert len(result.masks) == T
    assert result.masks.size == (H, W)
    assert result.rewards is not None


def test_groups_come_back_in_order():
    video, truth = scene()
    samples = [Sample(video, Query(str(i), f"thing {i}"), truth) for i in range(3)]
    groups = ReVSeg(policy="oracle").rollouts(samples, n=2)
    assert [[r.query.id for r in group] for group in groups] == [["0", "0"], ["1", "1"], ["2", "2"]]


def test_a_policy_says_what_it_was_taught_and_settings_win_over_it():
    class Taught:
        defaults = {"plan": [["keyframe_and_box", "keyframe_and_box_json"]], "num_frames": 4}  # noqa: RUF012

        def reply(self, rollouts: Any, prompts: Any, *, sampling: Sampling) -> Any:
            raise NotImplementedError

    model = ReVSeg(policy=Taught()).resolved()
    assert (model.plan, model.sampler, model.num_frames) == (
        (("keyframe_and_box", "keyframe_and_box_json"),),
        "uniform",
        4,
    )
    assert ReVSeg(policy=Taught(), num_frames=7).resolved().num_frames == 7
    assert ReVSeg(policy="oracle").resolved().plan == (("keyframe", "keyframe_json"), ("box", "box_json"))


def test_what_does_not_change_is_not_built_again():
    model = ReVSeg(policy="oracle", tracker="fill_box")
    policy = model.built_policy
    assert model.replace(tracker="oracle").built_policy is policy
    assert model.replace(policy="oracle").built_policy is not policy
    assert model.replace(tracker="oracle").built_tracker is not model.built_tracker
    assert model == ReVSeg(policy="oracle", tracker="fill_box")  # what was built is no part of it


def test_the_paper():
    paper = ReVSeg.paper()
    assert paper == paper.resolved()  # nothing is left to a default, so nothing is built to know it
    assert paper.num_frames == 16
    pixels = ("box:size=840,coords=pixel", "box_json:coords=pixel")
    assert paper.plan == (("keyframe:size=448", "keyframe_json"), pixels)
    assert paper.rewards == {"format": 1, "temporal": 1, "spatial": 1}


NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
VALUES = st.one_of(st.none(), st.booleans(), st.integers(-9, 99), NAMES, st.lists(st.integers(0, 9), max_size=3))
OPTIONS = st.dictionaries(NAMES.filter(lambda name: name != "name"), VALUES, max_size=2)
TEXTS = st.builds(format_spec, NAMES, OPTIONS)
SPECS = TEXTS | st.builds(lambda name, options: {"name": name, **options}, NAMES, OPTIONS)
WEIGHTS = st.floats(0, 9, allow_nan=False)
SETTINGS = st.fixed_dictionaries(
    {
        "policy": SPECS,
        "tracker": SPECS,
        "plan": st.none() | st.lists(st.tuples(SPECS, SPECS), min_size=1, max_size=3),
        "sampler": st.none() | SPECS,
        "num_frames": st.none() | st.integers(1, 64),
        "rewards": st.sampled_from(["eq8", "fig4"]) | st.dictionaries(TEXTS, WEIGHTS, max_size=3),
        "sampling": st.builds(Sampling, temperature=st.floats(0, 2), seed=st.integers(0, 9)),
    }
)


@given(SETTINGS)
def test_a_record_is_the_same_model(settings: dict[str, Any]):
    model = ReVSeg(**settings)
    assert ReVSeg.from_dict(model.to_dict()) == model
    assert ReVSeg.from_dict(json.loads(json.dumps(model.to_dict()))) == model


def half(rollout: Rollout, truth: MaskTrack) -> float:
    """Always one half."""
    return 0.5


def test_a_function_is_a_reward_and_its_record_finds_it_again():
    video, truth = scene()
    model = ReVSeg(policy="oracle", rewards={"format": 1, half: 0.5})
    breakdown = model.score(model.rollout(video, "the square", truth), truth)
    assert breakdown.total == 1.25
    again = ReVSeg.from_dict(json.loads(json.dumps(model.to_dict())), trust=True)  # code of ours
    assert again.score(model.rollout(video, "the square", truth), truth).total == 1.25


def test_the_preset_weighs_as_named():
    video, truth = scene()
    model = ReVSeg(policy="oracle", rewards="fig4")
    assert model.score(model.rollout(video, "the square", truth), truth).total == pytest.approx(1.0)
    assert dict(model.score(model.rollout(video, "s", truth), truth).weights) == {
        "format": 0.25,
        "temporal": 0.15,
        "spatial": 0.60,
    }


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"num_frames": 0}, InputError, "num_frames"),
        ({"plan": []}, InputError, "at least one"),
        ({"plan": ["box"]}, InputError, "pairs"),
        ({"rewards": "fig5"}, SpecError, "fig4"),
        ({"rewards": {"format": float("nan")}}, SpecError, "finite"),
        ({"polocy": "x"}, InputError, "policy"),
        ({"sampling": {"temprature": 1}}, InputError, "temperature"),
    ],
)
def test_a_wrong_setting_says_what_was_expected(settings: dict[str, Any], error: type[Exception], words: str):
    with pytest.raises(error, match=words):
        ReVSeg.from_dict(settings)


def test_an_unknown_part_is_named_with_its_nearest():
    video, _ = scene()
    with pytest.raises(SpecError, match="fill_box"):
        scripted(reply(1), '[{"bbox_2d": [1, 1, 400, 400]}]').replace(tracker="fil_box").segment(video, "x")
    with pytest.raises(InputError, match="query is empty"):
        scripted().segment(video, "  ")


def test_the_tracker_sees_every_frame_of_the_source_and_the_bar_changes_nothing():
    video, _ = scene()
    seen: list[int] = []

    def tracker(source: Video, groundings: Any) -> MaskTrack:
        assert all(isinstance(g, Grounding) for g in groundings)
        seen.append(len(source.read(range(len(source)))))
        return MaskTrack.empty(source.size, range(len(source)))

    model = scripted(reply(1), '[{"bbox_2d": [1, 1, 400, 400]}]').replace(tracker=tracker)
    for progress in (False, True):
        model.segment(video, "the square", progress=progress)
    assert seen == [T, T]


def test_public_names():
    assert revseg.ReVSeg is ReVSeg
    assert revseg.Segmentation.__name__ == "Segmentation"


class Limited:
    """A policy that was taught a limit, and keeps what it was told."""

    def __init__(self, limit: Any) -> None:
        self.defaults = {"max_new_tokens": limit}
        self.told: list[Sampling] = []

    def reply(self, rollouts: Any, prompts: Any, *, sampling: Sampling) -> Any:
        self.told.append(sampling)
        return [Reply("", finish_reason="length") for _ in rollouts]


def test_the_most_tokens_of_a_reply_are_told_taught_or_512():
    for model, limit in (
        (ReVSeg(policy=Limited(77)), 77),
        (ReVSeg(policy=Limited(77), sampling=Sampling(max_new_tokens=9, seed=4)), 9),
        (ReVSeg(policy="oracle"), 512),
    ):
        assert model.resolved().sampling.max_new_tokens == limit
        assert model.resolved().to_dict()["sampling"]["max_new_tokens"] == limit
        assert ReVSeg.from_dict(model.to_dict()).sampling == model.sampling
    policy = Limited(77)
    video, _ = scene()
    result = ReVSeg(policy=policy, sampling=Sampling(seed=4)).segment(video, "the dog")
    assert policy.told == [Sampling(max_new_tokens=77, seed=4)]
    assert "limit of 77 tokens" in result.rollout.turns[0].answer.detail


@pytest.mark.parametrize("limit", [0, -1, True, 2.5, "512", 10**12, [512]])
def test_a_limit_that_is_none_is_refused(limit: Any):
    with pytest.raises(InputError, match="max_new_tokens to be a whole number"):
        ReVSeg(policy=Limited(limit)).resolved()


def test_the_text_of_a_model_holds_no_key():
    text = repr(ReVSeg(policy={"name": "openai", "model": "m", "api_key": "sk-1"}, tracker="fill_box"))
    assert "sk-1" not in text
    assert text.startswith("ReVSeg(policy={'name': 'openai', 'model': 'm'}, tracker='fill_box'")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": -0.1}, "expected temperature to be a number of 0 or more, got -0.1"),
        ({"temperature": float("nan")}, "expected temperature"),
        ({"top_p": 0.0}, "expected top_p to be a number above 0 and at most 1"),
        ({"top_k": 1.5}, "expected top_k to be a whole number"),
        ({"max_new_tokens": 0}, "expected max_new_tokens"),
        ({"max_new_tokens": 10**9}, "at most 131072"),
        ({"seed": "1"}, "expected seed to be a whole number"),
        ({"top": 1}, "has no setting 'top'"),
    ],
)
def test_sampling_checks_its_values(options: dict[str, Any], words: str):
    with pytest.raises(InputError, match=words):
        revseg.Sampling(**options)
