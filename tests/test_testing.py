"""The checks pass for every registered part, and fail for parts that are wrong in one way each."""

import functools
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis.errors import NoSuchExample

from revseg.grounding import keyframe_json
from revseg.masks import MaskTrack
from revseg.policies.random import RandomPolicy
from revseg.registry import build, names
from revseg.testing import (
    check_objective,
    check_parser,
    check_policy,
    check_reward,
    check_tracker,
    groundings,
    judged,
    moving_squares,
    perfect,
    scenes,
    videos,
)
from revseg.trackers.fill_box import fill_box
from revseg.types import Answer, Objective, Parser, Policy, Prompt, Reply, Reward, Rollout, Target, Tracker

# Parts that need weights or a server are checked in the tests of their own modules, on tiny ones.
ELSEWHERE = {"hf", "qwen", "openai", "sam2", "sam2_hf", "sam3", "edgetam", "sam3_concept"}
OPTIONS = {"given": ":keyframe=1,box=[0, 0, 0.5, 1]", "scripted": ':replies=["a", "b"]', "template": ":path=x"}


def parts(kind):
    return [name + OPTIONS.get(name, "") for name in names(kind) if name not in ELSEWHERE]


@pytest.mark.parametrize("spec", parts("reward"))
def test_rewards(spec):
    assert isinstance(build("reward", spec), Reward)
    check_reward(spec, examples=40)


@pytest.mark.parametrize("spec", parts("parser"))
def test_parsers(spec):
    assert isinstance(build("parser", spec), Parser)
    check_parser(spec, examples=40)


@pytest.mark.parametrize("spec", parts("tracker"))
def test_trackers(spec):
    assert isinstance(build("tracker", spec), Tracker)
    check_tracker(spec)


@pytest.mark.parametrize("spec", parts("policy"))
def test_policies(spec):
    assert isinstance(build("policy", spec), Policy)
    check_policy(spec)


@pytest.mark.parametrize("spec", parts("objective"))
def test_objectives(spec):
    assert isinstance(build("objective", spec), Objective)
    check_objective(spec)


@pytest.mark.parametrize("spec", parts("prompt"))
def test_prompts(spec):
    assert isinstance(build("prompt", spec), Prompt)


# Wrong rewards


def above_one(rollout, truth):
    return 1.0 + 0.1 * len(rollout.groundings)


def not_a_number(rollout, truth):
    return 1.0 if rollout.groundings else float("nan")


def nothing(rollout, truth):
    return None


def changes_its_mind(rollout, truth, calls=iter(range(10**9))):  # noqa: B008
    return next(calls) % 2 / 2


def never_content(rollout, truth):
    return 0.5


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (above_one, r"gave 1\.\d; expected a number in \[0, 1\]"),
        (not_a_number, "gave nan"),
        (nothing, "gave None"),
        (changes_its_mind, r"gave 0\.\d, then"),
        (never_content, "the perfect rollout 0.5; expected 1"),
    ],
)
def test_wrong_rewards_fail(reward, message):
    with pytest.raises(AssertionError, match=message):
        check_reward(reward)


def test_a_reward_may_judge_something_else():
    check_reward(never_content, perfect=False, examples=10)


def test_rewards_that_raise_show_their_error():
    def careless(rollout, truth):
        return float(rollout.groundings[0].keyframe == 0)

    with pytest.raises(IndexError):
        check_reward(careless)


# Wrong parsers


def with_answer(change):
    """keyframe_json with its answer changed."""

    def parser(text, shown):
        return change(keyframe_json(text, shown), text, shown)

    return parser


def one_more(answer, text, shown):
    return Answer(
        tuple(Target(int(shown.frame_ids[-1]) + 1, t.description) for t in answer.targets), answer.error, answer.form
    )


def raises(answer, text, shown):
    if "null" in text:
        raise ValueError(text)
    return answer


def both(answer, text, shown):
    return Answer((Target(0, "?"),), answer.error, answer.form)


def long_error(answer, text, shown):
    return Answer((), answer.error and f"Error: {answer.error}", answer.form)


def form_in_percent(answer, text, shown):
    return Answer(answer.targets, answer.error, 100 * answer.form)


def reads_thoughts(answer, text, shown):
    return Answer(error="no_json") if "[]" in text else answer


def wrong_order(answer, text, shown):
    boxes = np.array([[0.5, 0, 0.1, 1]], np.float32)
    return Answer(tuple(Target(t.frame_id, t.description, boxes) for t in answer.targets), answer.error, answer.form)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (one_more, "out of range"),
        (raises, "raised ValueError"),
        (both, "an error or targets, not both"),
        (long_error, "an error of one lower-case word"),
        (form_in_percent, r"form in \[0, 1\]"),
        (reads_thoughts, "changed the answer"),
        (wrong_order, "out of range"),
    ],
)
def test_wrong_parsers_fail(change, message):
    with pytest.raises(AssertionError, match=message):
        check_parser(with_answer(change))


def test_thinking_may_count():
    check_parser(with_answer(reads_thoughts), thinking=False, examples=20)


# Wrong trackers


def loses_a_frame(video, groundings):
    masks = fill_box(video, groundings)
    return masks.at(masks.frame_ids[:-1])


def one_object(video, groundings):
    return fill_box(video, groundings).union()


def turned(video, groundings):
    masks = fill_box(video, groundings)
    return MaskTrack.from_dense(masks.dense().swapaxes(-1, -2))


def over_sure(video, groundings):
    masks = fill_box(video, groundings)
    return MaskTrack(masks.counts, masks.size, masks.frame_ids, masks.scores + 1)


def tires(video, groundings, calls=iter(range(10**9))):  # noqa: B008
    masks = fill_box(video, groundings)
    return masks if next(calls) % 2 else MaskTrack.empty(video.size, masks.frame_ids, masks.objects)


@pytest.mark.parametrize(
    ("tracker", "message"),
    [
        (loses_a_frame, "frame ids"),
        (one_object, "expected 2 objects"),
        (turned, r"masks of \(48, 64\)"),
        (over_sure, r"scores in \[0, 1\]"),
        (tires, "other masks when called again"),
        (functools.partial(lambda video, groundings: None), "expected a MaskTrack"),
    ],
)
def test_wrong_trackers_fail(tracker, message):
    with pytest.raises(AssertionError, match=message):
        check_tracker(tracker)


def test_tracker_quality_can_be_asked_for():
    with pytest.raises(AssertionError, match=r"expected 0\.9"):
        check_tracker("fill_box", iou=0.9)
    check_tracker("oracle", iou=1.0)


# Wrong policies


class LooksAround(RandomPolicy):
    """Draws by position in the batch."""

    def reply(self, rollouts, prompts, *, sampling):
        replies = super().reply(rollouts, prompts, sampling=sampling)
        return [Reply(f"{number} {reply.text}") for number, reply in enumerate(replies)]


class CountsWrong(RandomPolicy):
    """Tokens without log-probs."""

    def reply(self, rollouts, prompts, *, sampling):
        replies = super().reply(rollouts, prompts, sampling=sampling)
        return [Reply(reply.text, np.arange(3)) for reply in replies]


class Forgets(RandomPolicy):
    """Other replies each time."""

    def reply(self, rollouts, prompts, *, sampling):
        self.seed += 1
        return super().reply(rollouts, prompts, sampling=sampling)


@pytest.mark.parametrize(
    ("policy", "message"),
    [(LooksAround(), "in a batch, .* alone"), (CountsWrong(), "log-prob per token"), (Forgets(), "in a batch")],
)
def test_wrong_policies_fail(policy, message):
    with pytest.raises(AssertionError, match=message):
        check_policy(policy)


# Wrong objectives


class Wrong:
    """GRPO with one thing wrong."""

    def __init__(self, wrong):
        self.wrong = wrong
        self.right = build("objective", "grpo:beta=0" if wrong == "mask" else "grpo")

    def advantages(self, rewards):
        if self.wrong == "nan":
            return (rewards - rewards.mean(1, keepdim=True)) / rewards.std(1, keepdim=True)
        if self.wrong == "shape":
            return self.right.advantages(rewards).mean(1)
        return self.right.advantages(rewards)

    def loss(self, new, old, ref, advantages, mask):
        loss, figures = self.right.loss(new, old, ref, advantages, mask)
        if self.wrong == "mask":
            return loss + new.mean(), figures
        return (loss.expand(2) if self.wrong == "vector" else loss), figures


@pytest.mark.parametrize(
    ("wrong", "message"),
    [("nan", "expected zeros"), ("shape", "shape"), ("mask", "masked tokens change"), ("vector", "finite scalar")],
)
def test_wrong_objectives_fail(wrong, message):
    with pytest.raises(AssertionError, match=message):
        check_objective(Wrong(wrong))


# The strategies


@given(judged())
def test_rollouts_stop_where_rounds_do(case):
    rollout, truth = case
    assert isinstance(rollout, Rollout)
    assert len(rollout.turns) <= rollout.due <= 2
    for turn in rollout.turns[:-1]:
        assert turn.answer.error is None
        assert turn.answer.targets
    assert truth.frame_ids.tolist() == rollout.frame_ids.tolist()
    assert truth.size == rollout.clip.size


SORTS = ["open 0 of 1", "open 1 of 2", "failed 1 of 1", "failed 1 of 2", "failed 2 of 2", "absent 1 of 1"]


def test_rollouts_are_of_every_sort():
    missing = {*SORTS, "found 1 of 1", "found 2 of 2"}

    def was_last(case):
        missing.discard(f"{case[0].status} {len(case[0].turns)} of {case[0].due}")
        return not missing

    with suppress(NoSuchExample):
        find(judged(), was_last, settings=settings(max_examples=4000, phases=[Phase.generate]))
    assert missing == set()


@given(perfect())
def test_perfect_rollouts_are_perfect(case):
    rollout, truth = case
    (grounding,) = rollout.groundings
    boxes = truth.boxes
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    row = truth.row(grounding.frame_id)
    assert areas[row] == areas.max()
    np.testing.assert_array_equal(grounding.boxes[0], boxes[row])
    assert rollout.form == 1


@given(scenes())
def test_scenes_hold_what_their_truth_says(scene):
    assert len(scene.video) == len(scene.truth) == len(scene.clip)
    assert scene.truth.visible.all()
    plain = (scene.frames == 110).all(-1)
    np.testing.assert_array_equal(~plain, scene.truth.union().dense()[0])
    np.testing.assert_array_equal(scene.video.read([0]), scene.frames[:1])


@given(videos(frames=3), groundings(3))
def test_groundings_lie_in_the_video(video, found):
    assert all(0 <= g.frame_id < len(video) for g in found)
    assert {g.object_id for g in found} == set(range(len({g.object_id for g in found})))


def test_squares_by_hand():
    scene = moving_squares(frames=3, size=(8, 12), step=4)
    assert scene.truth.areas.tolist() == [4, 4, 4]
    np.testing.assert_allclose(scene.truth.boxes[:, 0] * 12, [2, 6, 10], rtol=1e-6)
