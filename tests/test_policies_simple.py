import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts import built

from revseg.errors import InputError, PartError
from revseg.grounding import iou
from revseg.masks import MaskTrack
from revseg.registry import build
from revseg.rollout import converse
from revseg.rollout.plans import InOrder
from revseg.testing import boxes, check_policy, moving_squares
from revseg.types import Clip, Query, Rollout, Sample, Sampling
from revseg.video import Video

TWO = [("keyframe_terse:size=28", "keyframe_json:strict=True"), ("box_terse:size=56", "box_json:strict=True")]
ONE = [("keyframe_and_box_terse:size=28", "keyframe_and_box_json:strict=True")]


def hold(policy, starts, rounds, **sampling):
    return converse(starts, policy, InOrder(rounds), sampling=Sampling(**sampling))


VIDEO = Video("clip", (20, 30), 10.0, 40, lambda ids: np.zeros((len(ids), 20, 30, 3), np.uint8))


def start(ids=(0, 10, 20, 30), name="q", size=(20, 30)):
    return Rollout(Clip(np.zeros((len(ids), *size, 3), np.uint8), np.array(ids)), Query(name, "the dog"), video=VIDEO)


@pytest.mark.parametrize("rounds", [ONE, TWO])
@pytest.mark.parametrize("spec", ["random", "oracle", "oracle:per_object=True", "given:keyframe=1,box=[0, 0, 0.5, 1]"])
def test_contract(spec, rounds):
    check_policy(spec, plan=rounds)


# given


@pytest.mark.parametrize("rounds", [ONE, TWO])
@given(box=boxes(1))
def test_given_says_what_it_was_given(rounds, box):
    (rollout,) = hold(build("policy", {"name": "given", "keyframe": 20, "box": box[0].tolist()}), [start()], rounds)
    (grounding,) = rollout.groundings
    assert (grounding.frame_id, grounding.description) == (20, "object")
    np.testing.assert_array_equal(grounding.boxes, box)
    assert rollout.form == 1


@pytest.mark.parametrize("coords", ["per_mille", "unit"])
def test_given_in_other_coordinates(coords):
    rounds = [(prompt, f"{parser},coords={coords}") for prompt, parser in TWO]
    policy = build("policy", f"given:keyframe=0,box=[0.1, 0.2, 0.3, 0.4],coords={coords}")
    (rollout,) = hold(policy, [start()], rounds)
    np.testing.assert_array_equal(rollout.groundings[0].boxes, np.array([[0.1, 0.2, 0.3, 0.4]], np.float32))


@pytest.mark.parametrize("rounds", [ONE, TWO])
def test_given_several(rounds):
    a, b = [0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]

    def ground(**options):
        (rollout,) = hold(build("policy", {"name": "given", "box": [a, b], **options}), [start()], rounds)
        return [(g.frame_id, g.description, g.object_id, g.boxes.tolist()) for g in rollout.groundings]

    assert ground(keyframe=10) == [(10, "object 1", 0, [a]), (10, "object 2", 1, [b])]
    assert ground(keyframe=[10, 30], description="dog") == [(10, "dog 1", 0, [a]), (30, "dog 2", 1, [b])]
    assert ground(keyframe=[10, 30], same_object=True) == [(10, "object", 0, [a]), (30, "object", 0, [b])]


def test_given_asks_for_the_frames_that_it_needs():
    policy = built("policy", "given:keyframe=[7, 3],box=[[0, 0, 1, 1], [0, 0, 0.5, 1]]")
    assert policy.defaults == {"sampler": "at:frames=[3, 7]", "num_frames": 16}
    sampler = build("sampler", policy.defaults["sampler"])
    scene = moving_squares(frames=9)
    assert sampler(scene.video, scene.query, policy.defaults["num_frames"]).frame_ids.tolist() == [3, 7]
    with pytest.raises(InputError, match=r"frame 3 .*\[0, 10, 20, 30\].*at:frames=\[3, 7\]"):
        hold(policy, [start()], TWO)


@pytest.mark.parametrize(
    ("keyframe", "box", "expected"),
    [
        (0, [0, 0, 1], "x1, y1, x2, y2"),
        (0, [0, 0, 64, 64], "unit boxes"),
        (0, [0.5, 0, 0.5, 1], "unit boxes"),
        (0, [0, 0, float("nan"), 1], "unit boxes"),
        (-1, [0, 0, 1, 1], "frame number"),
        ([0, 1], [0, 0, 1, 1], "frame number"),
        ([0, 1, 2], [[0, 0, 1, 1], [0, 0, 1, 1]], "frame number"),
    ],
)
def test_given_refuses(keyframe, box, expected):
    with pytest.raises(InputError, match=expected):
        build("policy", {"name": "given", "keyframe": keyframe, "box": box})


# oracle


def truth(*objects, names=()):
    """Objects of 20 by 30 on frames 0, 10, 20, 30 by their boxes, None where absent."""
    masks = np.zeros((len(objects), 4, 20, 30), bool)
    for mask, found in zip(masks, objects, strict=True):
        for frame, box in zip(mask, found, strict=True):
            if box is not None:
                frame[box[1] : box[3], box[0] : box[2]] = True
    return MaskTrack.from_dense(masks, [0, 10, 20, 30], names)


SMALL, LARGE, OTHER = (0, 0, 3, 2), (3, 2, 15, 10), (21, 4, 30, 20)


def told(track, **options):
    return built("policy", {"name": "oracle", **options}).with_truth([Sample(VIDEO, Query("q", ""), track)])


@pytest.mark.parametrize("rounds", [ONE, TWO])
def test_oracle_picks_the_largest(rounds):
    (rollout,) = hold(told(truth([SMALL, None, LARGE, SMALL], names=["dog"])), [start()], rounds)
    (grounding,) = rollout.groundings
    assert (grounding.frame_id, grounding.description) == (20, "dog")
    np.testing.assert_allclose(grounding.boxes, [[0.1, 0.1, 0.5, 0.5]], atol=1e-6)


def test_oracle_of_several_objects():
    track = truth([SMALL, LARGE, None, None], [OTHER, None, None, None], names=["dog", "dog"])
    (one,) = hold(told(track), [start()], TWO)[0].groundings
    np.testing.assert_allclose(one.boxes, [[0, 0, 1, 1]])
    assert (one.frame_id, one.description) == (0, "dog")
    each = hold(told(track, per_object=True), [start()], TWO)[0].groundings
    assert [(g.frame_id, g.description, g.object_id) for g in each] == [(10, "dog 1", 0), (0, "dog 2", 1)]


def test_oracle_says_absent():
    nothing = truth([None] * 4)
    for policy in (told(nothing), told(nothing, per_object=True), told(truth([None, LARGE, None, None]))):
        (rollout,) = hold(policy, [start(ids=(0, 20, 30))], TWO)
        assert rollout.status == "absent"
        assert len(rollout.turns) == 1


def test_oracle_passes_over_frames_without_truth():
    (rollout,) = hold(told(truth([SMALL, LARGE, None, None])), [start(ids=(0, 5, 10, 11))], TWO)
    assert rollout.groundings[0].frame_id == 10


def test_oracle_has_to_be_told():
    with pytest.raises(PartError, match="pass truth="):
        hold(build("policy", "oracle"), [start()], TWO)


# random


def test_random_is_uniform_and_repeats():
    starts = [start(name=f"q{i}") for i in range(120)]
    rollouts = hold(build("policy", "random"), starts, TWO)
    assert all(len(r.groundings) == 1 for r in rollouts)
    counts = np.bincount([r.groundings[0].frame_id // 10 for r in rollouts], minlength=4)
    assert counts.min() > 15  # 30 expected, standard deviation 4.7
    corners = np.concatenate([r.groundings[0].boxes for r in rollouts])
    assert np.abs(corners.mean(0) - [1 / 3, 1 / 3, 2 / 3, 2 / 3]).max() < 0.09  # standard deviation 0.02
    assert iou(corners[:1], corners[1:]).max() < 1
    again = hold(build("policy", "random"), starts, TWO)
    np.testing.assert_array_equal(np.concatenate([r.groundings[0].boxes for r in again]), corners)


@pytest.mark.parametrize(("options", "sampling"), [({"seed": 1}, {}), ({}, {"seed": 1}), ({"seed": -5}, {})])
def test_random_seeds_matter(options, sampling):
    plain = hold(build("policy", "random"), [start()], TWO)[0].groundings[0]
    other = hold(build("policy", {"name": "random", **options}), [start()], TWO, **sampling)[0].groundings[0]
    assert plain.boxes.tolist() != other.boxes.tolist()


def test_random_differs_within_a_group():
    same = start()
    rollouts = hold(build("policy", "random"), [same] * 8, TWO)
    assert len({r.turns[1].reply.text for r in rollouts}) == 8


# scripted


@given(st.lists(st.text(max_size=5), min_size=2, max_size=2))
def test_scripted_says_its_lines(lines):
    for replies in (lines, {"q": lines}, lambda rollout: lines[len(rollout.turns)]):
        (rollout,) = hold(build("policy", {"name": "scripted", "replies": replies}), [start()], TWO)
        assert [turn.reply.text for turn in rollout.turns] == lines[: len(rollout.turns)]


def test_scripted_without_a_line():
    keyframe = '<think></think><answer>[{"frame_idx": 0, "object description": "x"}]</answer>'
    with pytest.raises(PartError, match="no reply for round 2"):
        hold(build("policy", {"name": "scripted", "replies": [keyframe]}), [start()], TWO)
    with pytest.raises(PartError, match="no script for query 'q'"):
        hold(build("policy", {"name": "scripted", "replies": {"other": []}}), [start()], TWO)


def test_scripted_wants_a_list():
    with pytest.raises(InputError, match="a list of replies"):
        build("policy", "scripted:replies=hello")
    assert built("policy", "scripted:replies=['a', 'b']").replies == ["a", "b"]
