import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from revseg.errors import InputError, PartError
from revseg.masks import MaskTrack
from revseg.policies.scripted import Scripted
from revseg.registry import build
from revseg.rollout import converse, shown
from revseg.rollout.plans import InOrder
from revseg.testing import near_misses
from revseg.types import Answer, Clip, Message, Query, Reply, Rollout, Sampling, Segmentation, Target, Turn

PAIRS = [
    (build("prompt", "keyframe_terse:size=20"), build("parser", "keyframe_json")),
    (build("prompt", "box_terse:size=40"), build("parser", "box_json")),
]
ROUNDS = InOrder(PAIRS)
KEYFRAME = '<think></think><answer>[{"frame_idx": 1, "object description": "a dog"}]</answer>'
BOX = "[[10, 20, 30, 40]]"


def start(name="q"):
    return Rollout(Clip(np.zeros((3, 8, 8, 3), np.uint8), np.array([4, 8, 12])), Query(name, f"find {name}"))


class Recorder:
    """Hands on to a script and keeps what it was asked."""

    def __init__(self, replies):
        self.script = Scripted(replies)
        self.calls = []

    def reply(self, rollouts, prompts, *, sampling):
        self.calls.append((list(rollouts), list(prompts), sampling))
        return self.script.reply(rollouts, prompts, sampling=sampling)


def test_two_rounds():
    (rollout,) = converse([start()], Scripted([KEYFRAME, BOX]), ROUNDS, sampling=Sampling())
    assert (rollout.status, rollout.error) == ("found", None)
    (grounding,) = rollout.groundings
    assert (grounding.frame_id, grounding.description) == (8, "a dog")
    np.testing.assert_allclose(grounding.boxes, [[0.25, 0.5, 0.75, 1]])
    assert [turn.reply.text for turn in rollout.turns] == [KEYFRAME, BOX]
    assert rollout.turns[1].prompt.clips[0].frame_ids.tolist() == [8]


def test_each_stops_for_itself():
    script = {"good": [KEYFRAME, BOX], "bad": ["?", "never said"], "absent": ["<answer>[]</answer>", "never said"]}
    script["late"] = [KEYFRAME, "?"]
    policy = Recorder(script)
    sampling = Sampling(seed=3)
    rollouts = converse([start(name) for name in script], policy, ROUNDS, sampling=sampling)
    assert [len(r.turns) for r in rollouts] == [2, 1, 1, 2]
    assert [r.error for r in rollouts] == [None, "round 1: no_json", None, "round 2: no_json"]
    assert [len(r.groundings) for r in rollouts] == [1, 0, 0, 0]
    assert [r.query.id for r in policy.calls[1][0]] == ["good", "late"]
    assert all(call[2] is sampling for call in policy.calls)
    assert [r.status for r in rollouts] == ["found", "failed", "absent", "failed"]
    assert [r.due for r in rollouts] == [2, 2, 1, 2]


def test_a_group_shares_its_first_message_and_nothing_else():
    asked = []

    def prompt(rollout):
        asked.append(rollout)
        return PAIRS[0][0](rollout)

    policy = Recorder([KEYFRAME, BOX])
    one, other = start("a"), start("b")
    converse([one, other, one, one], policy, InOrder([(prompt, PAIRS[0][1]), PAIRS[1]]), sampling=Sampling())
    assert len(asked) == 2
    first = policy.calls[0][1]
    assert first[0] is first[2] is first[3]
    assert first[1] is not first[0]
    assert policy.calls[0][0][0] is policy.calls[0][0][2]
    assert len({id(rollout) for rollout in policy.calls[1][0]}) == 4


@st.composite
def scripts(draw):
    picture = Clip(np.zeros((1, 40, 40, 3), np.uint8), np.zeros(1, np.int64))
    names = [f"q{i}" for i in range(draw(st.integers(1, 5)))]
    rounds = (near_misses(start().clip, "keyframe_json"), near_misses(picture, "box_json"))
    return {name: [draw(replies) for replies in rounds] for name in names}


@settings(max_examples=30)
@given(scripts())
@example({"q0": [KEYFRAME, '[{"bbox_2d": \ud800}]']})  # kept as it came, though no file can hold it
def test_batched_is_one_by_one_and_replies_reach_nobody_else(script):
    starts = [start(name) for name in script]
    together = converse(starts, Scripted(script), ROUNDS, sampling=Sampling())
    for name, rollout in zip(script, together, strict=True):
        (alone,) = converse([start(name)], Scripted({name: script[name]}), ROUNDS, sampling=Sampling())
        texts = [turn.reply.text for turn in rollout.turns]
        assert texts == [turn.reply.text for turn in alone.turns] == script[name][: len(texts)]
        assert (rollout.error, rollout.form) == (alone.error, alone.form)
        assert rollout.status != "open"
        assert all(turn.answer.error is None and turn.answer.targets for turn in rollout.turns[:-1])


def test_a_rollout_under_way_goes_on():
    (half,) = converse([start()], Scripted([KEYFRAME]), InOrder(PAIRS[:1]), sampling=Sampling())
    (whole,) = converse([half], Scripted(["never said", BOX]), ROUNDS, sampling=Sampling())
    assert [turn.reply.text for turn in whole.turns] == [KEYFRAME, BOX]
    assert whole.status == "found"


def test_nothing_in_nothing_out():
    assert converse([], Scripted([]), ROUNDS, sampling=Sampling()) == []


def test_mistakes_of_ours_are_errors():
    class Silent:
        def reply(self, rollouts, prompts, *, sampling):
            return [Reply("x")]

    with pytest.raises(InputError, match="at least one round"):
        InOrder([])
    with pytest.raises(PartError, match="expected 2 replies"):
        converse([start(), start()], Silent(), ROUNDS, sampling=Sampling())


def test_what_a_reply_speaks_of():
    def picture(size, number):
        return Clip(np.zeros((1, size, size, 3), np.uint8), np.array([number]))

    clip, a, b = start().clip, picture(4, 7), picture(4, 3)
    assert shown(Message("user", ("text",)), clip) is clip
    assert shown(Message("user", (clip, "and", a)), clip) is a
    assert shown(Message("user", (clip, a, b)), clip).frame_ids.tolist() == [7, 3]


class Ending:
    """Says KEYFRAME, cut or ended by something else, and begun inside what its template opened."""

    def __init__(self, reason, opened="", text=KEYFRAME):
        self.reply_ = Reply(text, finish_reason=reason, opened=opened)

    def reply(self, rollouts, prompts, *, sampling):
        return [self.reply_ for _ in rollouts]


def test_a_reply_that_did_not_end_by_itself_says_so():
    for reason, said in (("length", "cut off at the limit of 9 tokens"), ("content_filter", "early: content_filter")):
        (rollout,) = converse([start()], Ending(reason), InOrder(PAIRS[:1]), sampling=Sampling(max_new_tokens=9))
        assert rollout.error is None
        assert said in rollout.turns[0].answer.detail
    for reason in ("stop", ""):
        (rollout,) = converse([start()], Ending(reason), InOrder(PAIRS[:1]), sampling=Sampling())
        assert rollout.turns[0].answer.detail == ""
    (rollout,) = converse([start()], Ending("length", text="<think>so"), ROUNDS, sampling=Sampling())
    assert rollout.turns[0].answer.detail.startswith(
        "expected an answer after the thinking, got nothing; the reply was"
    )
    assert "limit of 512 tokens" in rollout.turns[0].answer.detail


def test_what_the_template_opened_is_part_of_the_reply():
    strict = InOrder([(PAIRS[0][0], build("parser", "keyframe_json:strict=True"))])
    text = KEYFRAME.removeprefix("<think>")
    (told,) = converse([start()], Ending("stop", "<think>", text), strict, sampling=Sampling())
    assert (told.error, told.form, told.turns[0].reply.text) == (None, 1.0, text)
    (untold,) = converse([start()], Ending("stop", "", text), strict, sampling=Sampling())
    assert untold.error == "round 1: no_think"


# How a conversation ended


def held(*answers, planned=2):
    clip, message = start().clip, Message("user", ("x",))
    turns = [Turn(message, Reply("y"), answer, clip, then=planned - n) for n, answer in enumerate(answers, 1)]
    return Rollout(clip, Query("q", "x"), tuple(turns))


BOXED = np.array([[0, 0, 0.5, 0.5]], np.float32)
CHOSEN, PLACED = Answer((Target(8, "dog"),)), Answer((Target(boxes=BOXED),))


@pytest.mark.parametrize(
    ("rollout", "status", "error", "form"),
    [
        (held(), "open", None, 0),
        (held(CHOSEN), "open", None, 1 / 2),
        (held(CHOSEN, PLACED), "found", None, 1),
        (held(Answer()), "absent", None, 1),
        (held(Answer(form=0.8)), "absent", None, 0.8),
        (held(CHOSEN, Answer()), "absent", None, 1),
        (held(CHOSEN, planned=1), "found", None, 1),  # a description is enough for a tracker that takes words
        (held(PLACED, planned=1), "failed", "round 1: no_keyframe", 1),
        (held(Answer(error="no_json", form=0.4)), "failed", "round 1: no_json", 0.2),
        (held(CHOSEN, Answer(error="no_box", form=0.5)), "failed", "round 2: no_box", 0.75),
    ],
)
def test_status_error_and_form_are_defined_once(rollout, status, error, form):
    assert (rollout.status, rollout.error) == (status, error)
    assert rollout.form == pytest.approx(form)
    truth = MaskTrack.empty((8, 8), rollout.clip.frame_ids)
    assert build("reward", "format")(rollout, truth) == rollout.form
    assert build("reward", "temporal")(rollout, truth) == float(status == "absent")
    assert Segmentation(rollout, truth).status == rollout.status
    assert bool(rollout.groundings) == (status == "found")


# Equal boxes


def placed(*boxes, keyframe=8, words="dog"):
    return Target(keyframe, words, np.array(boxes, np.float32).reshape(-1, 4))


A, B = [0, 0, 0.5, 0.5], [0, 0, 0.5, 0.75]


def test_equal_boxes_on_one_keyframe_are_one_instance():
    near = [-0.0, 1e-8, 0.5, 0.5]
    (one,) = held(CHOSEN, Answer(tuple(Target(boxes=np.array([b], np.float32)) for b in (A, A, B, near)))).groundings
    np.testing.assert_allclose(one.boxes, [A, B])
    both = held(Answer((placed(A, words="dog"), placed(A, words="brown dog"), placed(B, words="cat"))), planned=1)
    assert [(g.description, g.object_id) for g in both.groundings] == [("dog", 0), ("cat", 1)]
    assert [len(t.boxes) for t in both.targets] == [1, 1, 1], "what was said stays as it was"


def test_equal_boxes_on_two_keyframes_are_two_places():
    rollout = held(Answer((placed(A, keyframe=4), placed(A, keyframe=12))), planned=1)
    assert [(g.frame_id, g.object_id) for g in rollout.groundings] == [(4, 0), (12, 0)]


def test_points_alone_are_kept_and_a_repeated_boxs_points_are_not():
    points = {"points": np.array([[0.5, 0.5]], np.float32), "point_labels": np.ones(1, bool)}
    rollout = held(
        Answer((placed(A), Target(8, "dog", **points), Target(8, "x", placed(A).boxes, **points))), planned=1
    )
    assert [(len(g.boxes), len(g.points)) for g in rollout.groundings] == [(1, 0), (0, 1)]
