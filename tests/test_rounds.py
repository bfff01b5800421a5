import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from revseg.errors import InputError, PartError
from revseg.reading import well_formed
from revseg.registry import build
from revseg.rollout import run, shown
from revseg.rollout.scripted import Scripted
from revseg.testing import near_misses
from revseg.types import Clip, Message, Query, Reply, Rollout, Sampling

ROUNDS = [
    (build("prompt", "keyframe_terse:size=20"), build("parser", "keyframe_json")),
    (build("prompt", "box_terse:size=40"), build("parser", "box_json")),
]
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
    (rollout,) = run([start()], Scripted([KEYFRAME, BOX]), ROUNDS, sampling=Sampling())
    assert rollout.done
    assert rollout.error is None
    (grounding,) = rollout.groundings
    assert (grounding.keyframe, grounding.frame_id, grounding.description) == (1, 8, "a dog")
    np.testing.assert_allclose(grounding.boxes, [[0.25, 0.5, 0.75, 1]])
    assert [turn.reply.text for turn in rollout.turns] == [KEYFRAME, BOX]
    assert rollout.turns[1].prompt.clips[0].frame_ids.tolist() == [8]


def test_each_stops_for_itself():
    script = {"good": [KEYFRAME, BOX], "bad": ["?", "never said"], "absent": ["<answer>[]</answer>", "never said"]}
    script["late"] = [KEYFRAME, "?"]
    policy = Recorder(script)
    sampling = Sampling(seed=3)
    rollouts = run([start(name) for name in script], policy, ROUNDS, sampling=sampling)
    assert [len(r.turns) for r in rollouts] == [2, 1, 1, 2]
    assert [r.error for r in rollouts] == [None, "round 1: no_json", None, "round 2: no_json"]
    assert [len(r.groundings) for r in rollouts] == [1, 0, 0, 0]
    assert [r.query.id for r in policy.calls[1][0]] == ["good", "late"]
    assert all(call[2] is sampling for call in policy.calls)
    assert [r.planned for r in rollouts] == [2] * 4


def test_a_group_shares_its_first_message_and_nothing_else():
    asked = []

    def prompt(rollout):
        asked.append(rollout)
        return ROUNDS[0][0](rollout)

    policy = Recorder([KEYFRAME, BOX])
    one, other = start("a"), start("b")
    run([one, other, one, one], policy, [(prompt, ROUNDS[0][1]), ROUNDS[1]], sampling=Sampling())
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
def test_batched_is_one_by_one_and_replies_reach_nobody_else(script):
    starts = [start(name) for name in script]
    together = run(starts, Scripted(script), ROUNDS, sampling=Sampling())
    for name, rollout in zip(script, together, strict=True):
        (alone,) = run([start(name)], Scripted({name: script[name]}), ROUNDS, sampling=Sampling())
        texts = [turn.reply.text for turn in rollout.turns]
        said = [well_formed(text) for text in script[name]]
        assert texts == [turn.reply.text for turn in alone.turns] == said[: len(texts)]
        assert (rollout.error, rollout.answer.form) == (alone.error, alone.answer.form)
        assert rollout.done
        assert all(turn.answer.error is None and turn.answer.targets for turn in rollout.turns[:-1])


def test_a_rollout_under_way_goes_on():
    (half,) = run([start()], Scripted([KEYFRAME]), ROUNDS[:1], sampling=Sampling())
    (whole,) = run([half], Scripted(["never said", BOX]), ROUNDS, sampling=Sampling())
    assert [turn.reply.text for turn in whole.turns] == [KEYFRAME, BOX]
    assert whole.planned == 2


def test_nothing_in_nothing_out():
    assert run([], Scripted([]), ROUNDS, sampling=Sampling()) == []


def test_mistakes_of_ours_are_errors():
    class Silent:
        def reply(self, rollouts, prompts, *, sampling):
            return [Reply("x")]

    with pytest.raises(InputError, match="at least one round"):
        run([start()], Scripted([]), [], sampling=Sampling())
    with pytest.raises(PartError, match="expected 2 replies"):
        run([start(), start()], Silent(), ROUNDS, sampling=Sampling())


def test_what_a_reply_speaks_of():
    def picture(size, number):
        return Clip(np.zeros((1, size, size, 3), np.uint8), np.array([number]))

    clip, a, b = start().clip, picture(4, 7), picture(4, 3)
    assert shown(Message("user", ("text",)), clip) is clip
    assert shown(Message("user", (clip, "and", a)), clip) is a
    assert shown(Message("user", (clip, a, b)), clip).frame_ids.tolist() == [7, 3]
