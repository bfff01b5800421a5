"""What people have built on the parts, each in a few lines and whole: used, recorded as JSON, rebuilt from the record.

The policies here read the pictures that they are shown, or say what a script tells them; none of them is trained.
"""

import asyncio
import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_contracts import OBJECTS, PARTS, Bandit, Reinforce, chance, samples, settings

import revseg
from revseg import MaskTrack, Message, Reply, ReVSeg, Rollout, Round, Sample, Sampling, Segmentation, Video
from revseg.rollout import converse_async
from revseg.serialise import record_of, segmentation_from
from revseg.testing import moving_squares
from revseg.training.log import read_log
from revseg.types import Answer, Clip, Query


def told(rollout: Rollout) -> dict[str, Any]:
    """What a conversation came to."""
    turns = [(turn.round, turn.prompt.text, turn.reply.text, turn.shown.frame_ids.tolist()) for turn in rollout.turns]
    places = [(g.frame_id, g.boxes.tolist(), g.description, g.object_id) for g in rollout.groundings]
    return {"turns": turns, "places": places, "status": rollout.status, "form": rollout.form, "due": rollout.due}


def recorded_and_rebuilt(model: ReVSeg, sample: Sample, found: Segmentation) -> None:
    """The record says what happened and is judged alike; the model that it names does the same again."""
    assert sample.truth is not None
    record = json.loads(json.dumps(record_of(found, sample.video)))
    read = segmentation_from(record, found.masks)
    assert told(read.rollout) == told(found.rollout)
    assert model.score(read.rollout, sample.truth) == found.rewards == read.rewards
    again = ReVSeg.from_dict(record["spec"], trust=True).segment(sample.video, sample.query, sample.truth)
    assert told(again.rollout) == told(found.rollout)
    assert again.masks.counts == found.masks.counts


def whole_life(model: ReVSeg, sample: Sample) -> Segmentation:
    found = model.segment(sample.video, sample.query, sample.truth)
    assert found.status == "found"
    recorded_and_rebuilt(model, sample, found)
    return found


# A plan that zooms: 35 frames of 5,000 show the object, and brightness says how far away they are.

LENGTH, AT, LOOKS = 5000, 3217, 16


def long_video(read: list[int] | None = None) -> Video:
    def frames(ids: np.ndarray) -> np.ndarray:
        if read is not None:
            read.extend(ids.tolist())
        near = LENGTH - np.abs(ids - AT)
        pictures = np.zeros((len(ids), 16, 16, 3), np.uint8)
        pictures[..., 0], pictures[..., 1] = (near // 256)[:, None, None], (near % 256)[:, None, None]
        pictures[np.abs(ids - AT) <= 17, 4:12, 2:10, 2] = 255
        return pictures

    return Video("long", (16, 16), 25.0, LENGTH, frames)


class Nearest:
    """Asks for the frames around the brightest picture that it sees; on the last look, boxes what is blue in it."""

    def reply(self, rollouts: Sequence[Rollout], prompts: Sequence[Message], *, sampling: Sampling) -> list[Reply]:
        return [Reply(self.read(prompt)) for prompt in prompts]

    def read(self, prompt: Message) -> str:
        frames = prompt.clips[0].frames.astype(int)
        best = int((frames[:, 0, 0, 0] * 256 + frames[:, 0, 0, 1]).argmax())
        if prompt.text == "closer?":
            return json.dumps([max(best - 1, 0), min(best + 1, len(frames) - 1)])
        y, x = np.nonzero(frames[best, :, :, 2])
        box = [int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1]
        item = {"frame_idx": best, "object description": "the blue square", "bbox_2d": box}
        return f"<think></think><answer>{json.dumps([item])}</answer>"


def look(rollout: Rollout, *, first: int, end: int, text: str) -> Message:
    assert rollout.video is not None
    near = revseg.build("sampler", "uniform")(rollout.video.window(first, end), rollout.query, LOOKS)
    return Message("user", (Clip(near.frames, near.frame_ids + first), text))  # numbered as in the source


def closer(text: str, shown: Clip) -> Answer:
    first, last = json.loads(text)
    return Answer(windows=((int(shown.frame_ids[first]), int(shown.frame_ids[last]) + 1),))


def zoom(rollout: Rollout) -> Round | None:
    """Looks closer until every frame of the window is shown, then asks where the object is."""
    assert rollout.video is not None
    last = rollout.turns[-1] if rollout.turns else None
    if last is not None and last.round == "where":
        return None
    first, end = last.answer.windows[0] if last is not None else (0, len(rollout.video))
    if end - first > LOOKS:
        return Round("closer", functools.partial(look, first=first, end=end, text="closer?"), closer, then=1)
    both = revseg.build("parser", "keyframe_and_box_json")
    return Round("where", functools.partial(look, first=first, end=end, text="where?"), both)


def test_a_plan_that_zooms() -> None:
    read: list[int] = []
    masks = np.zeros((LENGTH, 16, 16), bool)
    masks[AT - 17 : AT + 18, 4:12, 2:10] = True
    sample = Sample(long_video(read), Query("q", "the blue square"), MaskTrack.from_dense(masks))
    model = ReVSeg(policy="test_uses:Nearest", plan="test_uses:zoom", tracker="fill_box")
    first = model.rollout(sample.video, sample.query).clip.frame_ids
    assert min(abs(first - AT)) > 17, "the first look misses the object, so that only zooming finds it"
    rollout = model.rollout(sample.video, sample.query)
    spans = [int(np.ptp(turn.shown.frame_ids)) for turn in rollout.turns]
    assert [turn.round for turn in rollout.turns] == ["closer", "closer", "closer", "where"]
    assert spans == sorted(spans, reverse=True)
    assert (spans[0], spans[-1] < LOOKS) == (LENGTH - 1, True)
    assert len(read) <= 2 * 5 * LOOKS  # two conversations, each with a clip and four looks
    found = whole_life(model, sample)
    (place,) = found.rollout.groundings
    assert place.frame_id == AT
    assert place.boxes.tolist() == [[2 / 16, 4 / 16, 10 / 16, 12 / 16]]
    assert found.rewards is not None
    assert found.rewards.total == 3


# One round per object, of a user's own: the largest is asked about first, which no built-in plan does.

KEYFRAME = '<think></think><answer>[{"frame_idx": 0, "object description": "left one"}, '
KEYFRAME += '{"frame_idx": 2, "object description": "right one"}]</answer>'


def last_first(rollout: Rollout) -> Round | None:
    """A box round for each target of the first round, from the last to the first."""
    if not rollout.turns:
        return Round("keyframe", revseg.build("prompt", "keyframe"), revseg.build("parser", "keyframe_json"), then=1)
    left = len(rollout.targets) - len(rollout.turns)
    parts = revseg.build("prompt", "box"), revseg.build("parser", "box_json")
    return None if left < 0 else Round("box", *parts, about=(left,), then=left)


def test_one_round_per_object() -> None:
    scene = moving_squares(3, (48, 64), objects=2)
    boxes = [scene.ground(obj, frame).boxes * 840 for obj, frame in ((1, 2), (0, 0))]
    replies = [KEYFRAME, *(json.dumps(box.tolist()) for box in boxes)]
    policy = {"name": "scripted", "replies": replies}
    model = ReVSeg(policy=policy, plan="test_uses:last_first", tracker="fill_box", num_frames=3)
    found = whole_life(model, Sample(scene.video, scene.query, scene.truth))
    assert [turn.prompt.about for turn in found.rollout.turns] == [None, (1,), (0,)]
    assert "right one" in found.rollout.turns[1].prompt.text
    assert "left one" not in found.rollout.turns[1].prompt.text
    assert [(g.frame_id, g.description) for g in found.rollout.groundings] == [(0, "left one"), (2, "right one")]
    assert found.masks.objects == 2
    for obj, frame in ((0, 0), (1, 2)):  # each box became the mask of its own object
        own = found.masks.select([obj]).at([frame]).dense()
        np.testing.assert_array_equal(own, scene.truth.select([obj]).at([frame]).dense())


# A plan that verifies: the policy looks at its own box, rejects it and chooses again.


class Doubter:
    """Boxes the whole picture at first; once its check has said no, the red square that it sees."""

    def reply(self, rollouts: Sequence[Rollout], prompts: Sequence[Message], *, sampling: Sampling) -> list[Reply]:
        return [Reply(self.one(rollout, prompt)) for rollout, prompt in zip(rollouts, prompts, strict=True)]

    def one(self, rollout: Rollout, prompt: Message) -> str:
        if prompt.asks == ("keyframe",):
            return '<think></think><answer>[{"frame_idx": 1, "object description": "red square"}]</answer>'
        picture = prompt.clips[0].frames[0]
        if prompt.asks == ("verdict",):
            edge = (picture[0] == (255, 0, 0)).all()  # the drawn box runs along the edge of the picture
            return '{"verdict": "no", "reason": "it holds everything"}' if edge else '{"verdict": "yes"}'
        y, x = np.nonzero(picture[..., 0] > 200)
        corners = [x.min(), y.min(), x.max() + 1, y.max() + 1] if len(rollout.turns) > 2 else [0, 0, 840, 840]
        return json.dumps([{"bbox_2d": [int(v) for v in corners]}])


def test_a_plan_that_verifies() -> None:
    scene = moving_squares(3, (48, 64))
    model = ReVSeg(policy="test_uses:Doubter", plan="verified", tracker="fill_box", num_frames=3)
    found = whole_life(model, Sample(scene.video, scene.query, scene.truth))
    assert [turn.round for turn in found.rollout.turns] == ["keyframe", "box", "verify", "again", "box", "verify"]
    assert [turn.answer.verdict for turn in found.rollout.turns] == [None, None, False, None, None, True]
    np.testing.assert_array_equal(found.masks.at([1]).union().dense(), scene.truth.at([1]).dense())


# Another engine holds the conversations: one coroutine each, and replies in whatever batches come together.


class Engine:
    """Answers all that is waiting at a time, as an inference server does."""

    def __init__(self, policy: Any) -> None:
        self.policy, self.waiting, self.sizes = policy, [], []

    async def generate(self, rollout: Rollout, message: Message) -> Reply:
        loop = asyncio.get_running_loop()
        if not self.waiting:
            loop.call_soon(self.answer)
        self.waiting.append((rollout, message, loop.create_future()))
        return await self.waiting[-1][-1]

    def answer(self) -> None:
        rollouts, messages, futures = zip(*self.waiting, strict=True)
        self.waiting = []
        self.sizes.append(len(futures))
        for future, reply in zip(futures, self.policy.reply(rollouts, messages, sampling=Sampling()), strict=True):
            future.set_result(reply)


def test_an_engine_of_ones_own_holds_the_conversations() -> None:
    scenes = [moving_squares(4, (48, 64), 1, step) for step in (1, 2, 3)]
    data = [Sample(scene.video, scene.query, scene.truth) for scene in scenes]
    model = ReVSeg(policy="test_uses:Doubter", plan="verified", tracker="fill_box", num_frames=3)
    engine = Engine(model.built_policy)

    async def hold() -> list[Rollout]:
        starts = [model.start(sample) for sample in data]
        return await asyncio.gather(*(converse_async(s, engine.generate, model.built_plan) for s in starts))

    rollouts = asyncio.run(hold())
    assert engine.sizes == [3] * 6  # six rounds, each answered for all three conversations together
    assert [told(r) for r in rollouts] == [told(group[0]) for group in model.rollouts(data)]
    for sample, rollout in zip(data, rollouts, strict=True):
        assert sample.truth is not None
        rewards = model.score(rollout, sample.truth)
        result = Segmentation(rollout, model.track(sample, rollout), rewards, model.resolved().to_dict())
        recorded_and_rebuilt(model, sample, result)


# A reward that judges a whole batch, such as a learned one.

batches: list[int] = []


@revseg.batched
def judge(rollouts: Sequence[Rollout], truths: Sequence[MaskTrack], *, liked: str = "right") -> list[float | None]:
    """How much a judge likes each reply; it keeps silent on what it cannot read."""
    batches.append(len(rollouts))
    said = [rollout.turns[0].reply.text for rollout in rollouts]
    return [None if text == "nothing" else float(text == liked) for text in said]


def test_a_batched_reward_is_used_and_trained_on(tmp_path: Path) -> None:
    model = ReVSeg(**{**PARTS, "rewards": {"test_uses:judge:liked=left": 1}})
    data = samples()
    found = model.segment(data[0].video, data[0].query, data[0].truth)  # an untrained Bandit says "left"
    recorded_and_rebuilt(model, data[0], found)
    assert found.rewards is not None
    assert found.rewards.total == 1
    batches.clear()
    trained = revseg.train(model, data, tmp_path, settings(steps=1))
    assert batches == [24]  # 3 queries of 8 conversations each, judged together
    assert read_log(tmp_path / "log.jsonl")[0]["reward"] > 0
    assert trained.built_policy.model.weight.any()  # pyright: ignore[reportAttributeAccessIssue]
    rebuilt = ReVSeg.from_dict(json.loads(json.dumps(trained.to_dict())), trust=True)
    assert chance(rebuilt.built_policy) == chance(trained.built_policy) < 1 / 3  # that it says "right", which pays less


# A policy and an objective that have what their protocols ask for and nothing else.


@pytest.mark.parametrize("form", ["specs", "objects"])
def test_a_policy_and_an_objective_that_are_protocols_and_no_more(form: str, tmp_path: Path) -> None:
    public = {name for part in (Bandit, Reinforce) for name in vars(part) if not name.startswith("_")}
    assert public == {"reply", "logprobs", "save", "advantages", "loss"}
    parts = PARTS if form == "specs" else {**PARTS, **OBJECTS, "policy": Bandit()}
    objective: Any = "test_contracts:Reinforce" if form == "specs" else Reinforce()
    trained = revseg.train(ReVSeg(**parts), samples(), tmp_path, settings(steps=2, objective=objective))
    assert chance(trained.built_policy) > 1 / 3
    sample = samples()[0]
    found = trained.segment(sample.video, sample.query, sample.truth)
    recorded_and_rebuilt(trained, sample, found)
    config = revseg.TrainConfig.from_dict(json.loads((tmp_path / "train.json").read_text())["train"], trust=True)
    assert form == "objects" or config.objective == objective  # an object is recorded as what it was, not rebuilt
