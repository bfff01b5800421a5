"""Plans: conversations as programs, held in batches and one at a time."""

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import revseg
from revseg.errors import InputError, PartError, SpecError
from revseg.masks import MaskTrack
from revseg.registry import names
from revseg.rewards import score
from revseg.rollout import ask, converse, converse_async
from revseg.testing import moving_squares
from revseg.types import Answer, Clip, Message, Query, Reply, Rollout, Round, Sampling, Segmentation, Target
from revseg.video import Video

LONG = Video("long", (16, 16), 24.0, 5000, lambda ids: np.zeros((len(ids), 16, 16, 3), np.uint8))
BOX = '[{"bbox_2d": [210, 210, 630, 630]}]'  # of an 840 x 840 picture


def keyframes(*chosen: int) -> str:
    items = ", ".join(f'{{"frame_idx": {k}, "object description": "thing {i}"}}' for i, k in enumerate(chosen))
    return f"<think></think><answer>[{items}]</answer>"


def scripted(*replies: str, **options: Any) -> revseg.ReVSeg:
    return revseg.ReVSeg(policy={"name": "scripted", "replies": list(replies)}, tracker="fill_box", **options)


def held(rollout: Rollout) -> list[str]:
    return [turn.round for turn in rollout.turns]


def test_two_rounds_is_what_the_paper_does_and_a_list_of_pairs_the_same() -> None:
    (named, listed) = (
        scripted(keyframes(2), BOX, plan=plan).rollout(LONG, "it")
        for plan in ("two_rounds", [("keyframe", "keyframe_json"), ("box", "box_json")])
    )
    assert held(named) == ["keyframe", "box"]
    for one, other in zip(named.turns, listed.turns, strict=True):
        assert (one.prompt.text, one.reply.text, one.then) == (other.prompt.text, other.reply.text, other.then)
    assert named.groundings[0].frame_id == listed.groundings[0].frame_id == 667  # the third of 16 in 5,000


def test_rounds_is_the_older_name_of_a_list_of_pairs() -> None:
    pairs = (("keyframe", "keyframe_json"), ("box", "box_json"))
    model = revseg.ReVSeg(policy="oracle", rounds=pairs)
    assert model == revseg.ReVSeg(policy="oracle", plan=pairs) == revseg.ReVSeg(policy="oracle").replace(rounds=pairs)
    assert revseg.ReVSeg.from_dict({"policy": "oracle", "rounds": [list(pair) for pair in pairs]}) == model
    assert model.replace(num_frames=3).plan == pairs
    with pytest.raises(InputError, match="plan"):
        revseg.ReVSeg(plan="two_rounds", rounds=pairs)


def test_one_round_asks_for_everything() -> None:
    both = '[{"frame_idx": 1, "object description": "it", "bbox_2d": [112, 112, 336, 336]}]'
    rollout = scripted(f"<think></think><answer>{both}</answer>", plan="one_round").rollout(LONG, "it")
    assert (held(rollout), rollout.status, rollout.form) == (["both"], "found", 1.0)


def test_per_object_asks_for_each_target_alone_and_one_may_be_absent() -> None:
    model = scripted(keyframes(0, 3, 3), BOX, "[]", "[[0, 0, 84, 84]]", plan="per_object")
    rollout = model.rollout(LONG, "they")
    assert held(rollout) == ["keyframe", "box", "box", "box"]
    assert [turn.prompt.about for turn in rollout.turns] == [None, (0,), (1,), (2,)]
    assert [turn.then for turn in rollout.turns] == [1, 2, 1, 0]
    assert ["thing 1" in turn.prompt.text for turn in rollout.turns] == [False, False, True, False]
    assert [(g.description, g.boxes.tolist()) for g in rollout.groundings] == [
        ("thing 0", [[0.25, 0.25, 0.75, 0.75]]),
        ("thing 2", pytest.approx(np.array([[0, 0, 0.1, 0.1]]))),
    ]
    assert rollout.status == "found"


def test_per_object_when_every_target_turns_out_absent() -> None:
    rollout = scripted(keyframes(0, 3), "[]", "[]", plan="per_object").rollout(LONG, "they")
    assert (rollout.status, rollout.error, rollout.groundings) == ("absent", None, ())


YES, NO = '{"verdict": "yes"}', '{"verdict": "no", "reason": "that is the shadow"}'


@pytest.mark.parametrize(
    ("replies", "rounds", "status"),
    [
        ((keyframes(1), BOX, YES), "keyframe box verify", "found"),
        ((keyframes(1), BOX, NO, keyframes(4), BOX, YES), "keyframe box verify again box verify", "found"),
        ((keyframes(1), BOX, NO, keyframes(4), BOX, NO), "keyframe box verify again box verify", "found"),
        ((keyframes(1), BOX, NO, "<answer>[]</answer>"), "keyframe box verify again", "absent"),
        ((keyframes(1), BOX, '{"verdict": "absent"}'), "keyframe box verify", "absent"),
        ((keyframes(1), BOX, "perhaps"), "keyframe box verify", "failed"),
        (("?",), "keyframe", "failed"),
    ],
)
def test_verified_looks_at_the_box_and_may_send_the_policy_back(
    replies: tuple[str, ...], rounds: str, status: str
) -> None:
    rollout = scripted(*replies, plan="verified").rollout(LONG, "it")
    assert (" ".join(held(rollout)), rollout.status) == (rounds, status)
    if "again" in rounds:
        assert "that is the shadow" in rollout.turns[3].prompt.text
    if rounds.endswith("again box verify"):
        assert [g.frame_id for g in rollout.groundings] == [int(rollout.clip.frame_ids[4])]


def test_the_check_shows_the_box() -> None:
    rollout = scripted(keyframes(1), BOX, YES, plan="verified").rollout(LONG, "it")
    (picture,) = rollout.turns[2].prompt.clips
    red = (picture.frames[0] == (255, 0, 0)).all(-1)
    assert red[210, 210:630].all()  # the upper edge
    assert not red[214:625, 220:620].any()


def zoom(rollout: Rollout) -> Round | None:
    """Three looks, each into the middle of the last, then a keyframe: a plan of a user's own."""
    looks = len(rollout.turns)
    if looks > 3 or (looks and rollout.turns[-1].answer.error):
        return None
    first, last = rollout.turns[-1].answer.windows[0] if looks else (0, len(LONG))

    def prompt(r: Rollout) -> Message:
        assert r.video is not None
        ids = np.linspace(first, last - 1, 4).astype(np.int64)
        return Message("user", (Clip(r.video.read(ids), ids), "closer?" if looks < 3 else "which frame?"))

    def parser(text: str, shown: Clip) -> Answer:
        middle = (int(shown.frame_ids[1]), int(shown.frame_ids[2]) + 1)
        return Answer(windows=(middle,)) if looks < 3 else Answer((Target(int(shown.frame_ids[1]), "it"),))

    return Round("look" if looks < 3 else "keyframe", prompt, parser, then=3 - looks)


def test_a_plan_that_zooms() -> None:
    rollout = scripted("a", "b", "c", "d", plan=zoom).rollout(LONG, "it")
    assert held(rollout) == ["look", "look", "look", "keyframe"]
    spans = [int(np.ptp(turn.shown.frame_ids)) for turn in rollout.turns]
    assert spans == sorted(spans, reverse=True)
    assert spans[0] == 4999
    assert spans[-1] < 200
    assert rollout.status == "found"
    (grounding,) = rollout.groundings
    assert (grounding.frame_id, len(grounding.boxes)) == (int(rollout.turns[-1].shown.frame_ids[1]), 0)
    assert grounding.frame_id in rollout.frame_ids  # of all frames shown, not of the first look alone
    assert len(rollout.frame_ids) > len(rollout.clip)


def test_a_keyframe_is_judged_among_all_frames_shown() -> None:
    """The temporal reward of a policy that chose its own window: the best frame is the best of everything shown."""
    clip, window = np.array([0, 10]), np.array([4, 5])
    masks = np.zeros((11, 10, 10), bool)
    for frame, side in ((0, 2), (4, 4), (5, 4), (10, 6)):
        masks[frame, :side, :side] = True
    shown = Clip(np.zeros((2, 10, 10, 3), np.uint8), window)

    def plan(rollout: Rollout) -> Round | None:
        target = Target(5, "it", np.array([[0, 0, 0.4, 0.4]], np.float32))
        parts = (lambda r: Message("user", (shown,)), lambda text, pictures: Answer((target,)))
        return None if rollout.turns else Round("both", *parts)

    start = Rollout(Clip(np.zeros((2, 10, 10, 3), np.uint8), clip), Query("q", "it"))
    (rollout,) = converse([start], revseg.build("policy", "scripted:replies=['x']"), plan, sampling=Sampling())
    found = score(rollout, MaskTrack.from_dense(masks), {"temporal": 1, "spatial": 1})
    assert found.values == {"temporal": pytest.approx((16 - 4) / (36 - 4)), "spatial": 1}


def test_a_reply_that_could_not_be_read_is_forgiven_when_the_plan_asks_again() -> None:
    key = Round("key", revseg.build("prompt", "keyframe"), revseg.build("parser", "keyframe_json"), then=1)
    box = Round("box", revseg.build("prompt", "box"), revseg.build("parser", "box_json"))

    def twice(rollout: Rollout) -> Round | None:
        read = [turn.round for turn in rollout.turns if turn.answer.error is None]
        return key if not rollout.turns else box if read == ["key"] and len(rollout.turns) < 3 else None

    good, bad = (scripted(keyframes(1), "hm", last, plan=twice).rollout(LONG, "it") for last in (BOX, "hm"))
    assert (good.status, good.error, len(good.groundings)) == ("found", None, 1)
    assert good.form == pytest.approx(2 / 3)
    assert (bad.status, bad.error, bad.groundings) == ("failed", "round 3: no_json", ())


def test_a_conversation_has_an_end() -> None:
    def endless(rollout: Rollout) -> Round:
        parts = (lambda r: Message("user", ("more?",)), lambda text, shown: Answer(verdict=False))
        return Round("again", *parts, then=1)

    for limit in (1, 8):
        rollout = scripted(*["no"] * 9, plan=endless, max_rounds=limit).rollout(LONG, "it")
        assert (len(rollout.turns), rollout.status, rollout.error) == (limit, "failed", "too_many_rounds")
        result = scripted(*["no"] * 9, plan=endless, max_rounds=limit).segment(LONG, "it")
        assert isinstance(result, Segmentation)
        assert not result.masks.visible.any()


@pytest.mark.parametrize("plan", names("plan"))
@given(replies=st.lists(st.sampled_from([keyframes(1), keyframes(1, 2), BOX, YES, NO, "[]", "?"]), max_size=8))
def test_one_at_a_time_is_the_batch(plan: str, replies: list[str]) -> None:
    """The asynchronous driver holds the conversation that the batched one holds, for every plan."""

    def say(rollout: Rollout) -> str:
        return replies[len(rollout.turns)] if len(rollout.turns) < len(replies) else "?"

    async def generate(rollout: Rollout, message: Message) -> Reply:
        await asyncio.sleep(0)
        return Reply(say(rollout))

    built: Any = revseg.build("plan", plan)
    start = Rollout(Clip(LONG.read([0, 9, 18]), np.array([0, 9, 18])), Query("q", "it"), video=LONG)
    policy = revseg.build("policy", {"name": "scripted", "replies": say})
    (batched,) = converse([start], policy, built, sampling=Sampling())
    alone = asyncio.run(converse_async(start, generate, built))
    assert held(batched) == held(alone)
    assert [turn.reply.text for turn in batched.turns] == [turn.reply.text for turn in alone.turns]
    assert (batched.status, batched.error, batched.form) == (alone.status, alone.error, alone.form)
    assert [g.boxes.tolist() for g in batched.groundings] == [g.boxes.tolist() for g in alone.groundings]
    assert batched.status != "open"
    assert len(batched.turns) <= 8


def test_a_first_question_can_be_shared() -> None:
    start = Rollout(Clip(LONG.read([0, 9]), np.array([0, 9])), Query("q", "it"), video=LONG)
    plan: Any = revseg.build("plan", "two_rounds")
    first, seen = ask(plan, start), []

    async def generate(rollout: Rollout, message: Message) -> Reply:
        seen.append(message)
        return Reply("?")

    async def group() -> list[Rollout]:
        return list(await asyncio.gather(*(converse_async(start, generate, plan, first=first) for _ in range(3))))

    assert len(asyncio.run(group())) == 3
    assert first is not None
    assert all(message is first[1] for message in seen)


def test_a_plan_asks_with_the_prompts_that_the_policy_was_taught() -> None:
    """The bundled policy knows the terse prompts alone; its own sizes come with it into every plan."""
    model = revseg.ReVSeg(plan="per_object")
    plan = model.resolved().plan
    assert plan["keyframe"] == ["keyframe_terse:size=84,ruler=14", "keyframe_json"]
    assert plan["box"][0].startswith("box_terse")
    mine = ["keyframe_terse:size=56", "keyframe_json"]
    told = revseg.ReVSeg(plan={"name": "per_object", "keyframe": mine}).resolved().plan
    assert told["keyframe"] == mine
    sample = revseg.build("dataset", "shapes:size=1,split=test")[0]
    rollout = model.rollout(sample.video, sample.query)
    assert rollout.status in ("found", "absent", "failed")
    again = revseg.ReVSeg.from_dict(model.resolved().to_dict())
    assert again.resolved().plan == plan


@pytest.mark.parametrize("plan", names("plan"))
def test_the_oracle_is_right_in_every_plan(plan: str) -> None:
    scene = moving_squares(6, (48, 64), objects=2)
    model = revseg.ReVSeg(policy="oracle:per_object=True", tracker="oracle", plan=plan, num_frames=6)
    result = model.segment(scene.video, scene.query, scene.truth)
    assert result.status == "found"
    assert result.masks.objects == 2
    np.testing.assert_array_equal(result.masks.union().dense(), scene.truth.union().dense())
    absent = model.segment(scene.video, scene.query, MaskTrack.empty((48, 64), range(6)))
    assert absent.status == "absent"


def test_pairs_that_are_none_are_refused() -> None:
    with pytest.raises(SpecError, match="box"):
        revseg.build("plan", {"name": "two_rounds", "box": "box"})
    with pytest.raises(InputError, match="pair"):
        revseg.build("plan", {"name": "two_rounds", "box": ["box"]})
    with pytest.raises(InputError, match="tries"):
        revseg.build("plan", "verified:tries=0")


# Rewards that judge many rollouts at once.


@revseg.batched
def by_rank(rollouts: list[Rollout], truths: list[MaskTrack], *, top: int = 1) -> list[float | None]:
    """1 for the first `top` of a batch, nothing for the last."""
    return [None if i == len(rollouts) - 1 else float(i < top) for i in range(len(rollouts))]


def test_a_batched_reward_sees_the_batch() -> None:
    model = scripted("?", rewards={"format": 1, by_rank: 2})
    truth = MaskTrack.empty((16, 16), range(5000))
    rollouts = [model.rollout(LONG, f"thing {i}") for i in range(3)]
    found = model.score_all(rollouts, [truth] * 3)
    name = next(name for name in found[0].values if name != "format")
    assert [row.values.get(name) for row in found] == [1.0, 0.0, None]
    assert [set(row.weights) for row in found] == [{"format", name}, {"format", name}, {"format"}]
    two = replace(model, rewards={f"{__name__}:by_rank:top=2": 1})
    assert [row.total for row in two.score_all(rollouts, [truth] * 3)] == [1, 1, 0]


@pytest.mark.parametrize("given_", [None, [0.5], [0.5, 2.0], "ab", [0.5, "x"]])
def test_a_batched_reward_that_breaks_its_contract_is_named(given_: Any) -> None:
    broken = revseg.batched(lambda rollouts, truths: given_)
    model = scripted("?", rewards={broken: 1})
    rollouts = [model.rollout(LONG, "it")] * 2
    with pytest.raises(PartError, match="lambda"):
        model.score_all(rollouts, [MaskTrack.empty((16, 16), range(5000))] * 2)


def test_parts_are_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []
    real = revseg.registry.Registry.build

    def counted(self: Any, spec: Any) -> Any:
        if isinstance(spec, (str, dict)):
            built.append(f"{self.kind} {spec if isinstance(spec, str) else spec['name']}")
        return real(self, spec)

    monkeypatch.setattr(revseg.registry.Registry, "build", counted)
    scene = moving_squares(6, (48, 64))
    model = revseg.ReVSeg(policy="oracle", tracker="fill_box", num_frames=4)
    for _ in range(3):
        model.replace(sampling=Sampling(seed=1)).segment(scene.video, scene.query, scene.truth)
        model.segment(scene.video, scene.query, scene.truth)
    counts = {name: built.count(name) for name in built}
    assert max(counts.values()) <= 2, counts  # once for the model, once for its copy made before anything was built
