"""What parts give back: anything wrong is a PartError that names the part, wherever the part is used."""

import copy
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from revseg import checked
from revseg.errors import InputError, PartError, SpecError
from revseg.evaluation import evaluate
from revseg.masks import MaskTrack
from revseg.pipeline import ReVSeg
from revseg.registry import build
from revseg.rollout import converse
from revseg.rollout.plans import InOrder
from revseg.samplers import head
from revseg.testing import moving_squares
from revseg.training.data_filter import filter_videos
from revseg.training.rollouts import draw
from revseg.types import Answer, Clip, Message, NeedsTruth, Query, Reply, Rollout, Sample, Sampling, Target
from revseg.video import Video

FRAMES, SIZE = 6, (24, 32)
SCENE = moving_squares(FRAMES, SIZE)
SAMPLE = Sample(SCENE.video, SCENE.query, SCENE.truth)


def changed(thing: Any, **values: Any) -> Any:
    """With other fields, unchecked: outside of tests nobody checks them."""
    other = copy.copy(thing)
    for name, value in values.items():
        object.__setattr__(other, name, value)
    return other


def generated(*items: Any) -> Iterator[Any]:
    yield from items


# Wrong for every kind, then for one: functions of what the part would have given.
ANYTHING = [
    lambda good: None,
    lambda good: "text",
    lambda good: 3,
    lambda good: [],
    lambda good: {},
    lambda good: object(),
    lambda good: type(good),
    lambda good: generated(good),
    lambda good: (good, good),
    lambda good: np.zeros((3, 4)),
    lambda good: float("nan"),
]
REPLY = Reply("text", np.arange(3), np.zeros(3, np.float32))
REPLIES = [
    lambda good: good[0],
    lambda good: [*good, good[0]],
    lambda good: ["text"] * len(good),
    lambda good: [None] * len(good),
    lambda good: generated(*good),
    lambda good: dict(enumerate(good)),
    lambda good: [changed(REPLY, text=None)] * len(good),
    lambda good: [changed(REPLY, text=b"bytes")] * len(good),
    lambda good: [changed(REPLY, token_ids=[1, 2, 3])] * len(good),
    lambda good: [changed(REPLY, token_ids=np.zeros(3))] * len(good),
    lambda good: [changed(REPLY, logprobs=np.zeros(2, np.float32))] * len(good),
    lambda good: [changed(REPLY, logprobs=np.array([0, np.nan, 0], np.float32))] * len(good),
    lambda good: [changed(REPLY, logprobs=np.zeros((3, 1), np.float32))] * len(good),
]
MESSAGES = [
    lambda good: good.parts,
    lambda good: good.text,
    lambda good: changed(good, parts=()),
    lambda good: changed(good, parts="text"),
    lambda good: changed(good, asks="box"),
    lambda good: changed(good, asks=(None,)),
    lambda good: changed(good, parts=(*good.parts, None)),
    lambda good: changed(good, parts=(SCENE.frames,)),
    lambda good: changed(good, role=None),
    lambda good: changed(good, parts=(changed(good.clips[0], frames=good.clips[0].frames / 255.0),)),
    lambda good: changed(good, parts=(changed(good.clips[0], frame_ids=np.arange(99)),)),
]
ANSWERS = [
    lambda good: good.targets,
    lambda good: changed(good, targets=None),
    lambda good: changed(good, targets=generated(*good.targets)),
    lambda good: changed(good, targets=(None,)),
    lambda good: changed(good, targets=[{"frame_id": 0}]),
    lambda good: changed(good, error=ValueError("no")),
    lambda good: changed(good, detail=None),
    lambda good: changed(good, form=None),
    lambda good: changed(good, form=100.0),
    lambda good: changed(good, form=float("nan")),
    lambda good: changed(good, verdict="yes"),
    lambda good: changed(good, windows=((3, 1),)),
    lambda good: changed(good, windows=(0, 2)),
    lambda good: changed(good, windows=((0, 1 << 40),)),
    lambda good: changed(good, targets=(Target(None, "it", object_id=10**12),)),
    lambda good: changed(good, targets=(changed(Target(), object_id=np.int64(3)),)),
    *(
        (lambda good, values=values: changed(good, targets=(changed(Target(0, "x"), **values),)))
        for values in [
            {"frame_id": 99},
            {"frame_id": -1},
            {"frame_id": np.int64(0)},
            {"frame_id": 0.0},
            {"frame_id": True},
            {"description": None},
            {"boxes": None},
            {"boxes": [[0, 0, 1, 1]]},
            {"boxes": np.zeros((1, 4))},
            {"boxes": np.zeros(4, np.float32)},
            {"boxes": np.array([[0, 0, 7, 7]], np.float32)},
            {"boxes": np.array([[0, 0, np.nan, 1]], np.float32)},
            {"boxes": np.array([[0.5, 0, 0.1, 1]], np.float32)},
            {"points": np.full((1, 2), 0.5, np.float32)},
            {"points": np.full((1, 2), 9, np.float32), "point_labels": np.ones(1, bool)},
            {"points": None},
            {"point_labels": None},
        ]
    ),
]
CLIPS = [
    lambda good: good.frames,
    lambda good: good.frame_ids,
    lambda good: changed(good, frames=good.frames / 255.0),
    lambda good: changed(good, frames=good.frames[..., 0]),
    lambda good: changed(good, frames=good.frames[:2]),
    lambda good: changed(good, frames=list(good.frames)),
    lambda good: changed(good, frames=None),
    lambda good: changed(good, frame_ids=good.frame_ids.tolist()),
    lambda good: changed(good, frame_ids=good.frame_ids.astype(float)),
    lambda good: changed(good, frame_ids=good.frame_ids + FRAMES),
    lambda good: changed(good, frame_ids=good.frame_ids - 1),
    lambda good: changed(good, frames=good.frames[:0], frame_ids=good.frame_ids[:0]),
    lambda good: Clip(np.repeat(good.frames, 9, 0), np.repeat(good.frame_ids, 9)),
]
TRACKS = [
    lambda good: good.dense(),
    lambda good: good.to_dict(),
    lambda good: good.counts,
    lambda good: good.at(range(3)),
    lambda good: good.at(range(FRAMES - 1, -1, -1)),
    lambda good: replace(good, frame_ids=good.frame_ids + 1),
    lambda good: MaskTrack.from_dense(good.dense()[..., ::2]),
    lambda good: MaskTrack.from_dense(good.dense().swapaxes(-1, -2)),
    lambda good: MaskTrack.from_dense(np.zeros((0, 0, *SIZE), bool)),
    lambda good: replace(good, scores=good.scores + 1),
    lambda good: replace(good, scores=good.scores * np.nan),
]
NUMBERS = [lambda good: 1.5, lambda good: -0.1, lambda good: "1", lambda good: np.zeros(2), lambda good: 1j]
SAMPLES = [
    lambda good: (good.video, good.query, good.truth),
    lambda good: changed(good, video=None),
    lambda good: changed(good, video="video.mp4"),
    lambda good: changed(good, video=changed(good.video, length=0)),
    lambda good: changed(good, query="the dog"),
    lambda good: changed(good, query=changed(good.query, text=None)),
    lambda good: changed(good, truth=good.truth.dense()),
    lambda good: changed(good, meta=None),
]
WRONG: dict[str, list[Callable[[Any], Any]]] = {
    "policy": [*ANYTHING, *REPLIES],
    "prompt": [*ANYTHING, *MESSAGES],
    "parser": [*ANYTHING, *ANSWERS],
    "plan": [wrong for wrong in ANYTHING if wrong(Answer()) is not None],
    "sampler": [*ANYTHING, *CLIPS],
    "tracker": [*ANYTHING, *TRACKS],
    "reward": [*ANYTHING, *NUMBERS],
}


class Spoilt:
    """A part of each kind that gives what `wrong` makes of the right thing."""

    def __init__(self, kind: str, wrong: Callable[[Any], Any]) -> None:
        self.wrong, self.right = wrong, build(kind, self.SPECS[kind])

    SPECS = {  # noqa: RUF012
        "policy": "oracle",
        "plan": "two_rounds",
        "prompt": "keyframe",
        "parser": "keyframe_json",
        "sampler": "uniform",
        "tracker": "oracle",
        "reward": "format",
    }

    def __call__(self, *given: Any) -> Any:
        return self.wrong(self.right(*given))

    def reply(self, *given: Any, **options: Any) -> Any:
        return self.wrong(self.right.reply(*given, **options))

    def with_truth(self, samples: Any) -> Any:
        knowing = copy.copy(self)
        if isinstance(self.right, NeedsTruth):
            knowing.right = self.right.with_truth(samples)
        return knowing


def model_with(kind: str, part: Any) -> ReVSeg:
    model = ReVSeg(policy="oracle", tracker="oracle", num_frames=4)
    if kind == "prompt":
        return model.replace(plan=[(part, "keyframe_json"), ("box", "box_json")])
    if kind == "parser":
        return model.replace(plan=[("keyframe", part), ("box", "box_json")])
    return model.replace(rewards={part: 1.0}) if kind == "reward" else model.replace(**{kind: part})


@pytest.mark.parametrize("kind", WRONG)
@given(data=st.data())
def test_segment_and_rollout_name_the_part(kind: str, data: st.DataObject):
    wrong = data.draw(st.sampled_from(WRONG[kind]))
    model = model_with(kind, Spoilt(kind, wrong))
    with pytest.raises(PartError, match=rf"{kind} .*test_checked.Spoilt.*(expected|out of range)"):
        model.segment(SCENE.video, SCENE.query, SCENE.truth)
    if kind not in ("tracker", "reward"):
        with pytest.raises(PartError, match=f"{kind} .*test_checked:Spoilt"):
            model.rollout(SCENE.video, SCENE.query, SCENE.truth)
        with pytest.raises(PartError, match=f"{kind} .*test_checked:Spoilt"):
            model.rollouts([SAMPLE, SAMPLE], n=2)


@pytest.mark.parametrize("kind", WRONG)
def test_evaluate_keeps_a_row_that_names_the_part(kind: str, tmp_path: Path):
    for number, wrong in enumerate([WRONG[kind][0], WRONG[kind][-1]]):
        results = evaluate(
            model_with(kind, Spoilt(kind, wrong)), [SAMPLE], tmp_path / f"{number}.jsonl", progress=False
        )
        (row,) = results
        assert row.failure == "crash:PartError"
        assert f"{kind} " in row.data["detail"].splitlines()[-1]
        assert "Spoilt" in row.data["detail"].splitlines()[-1]


class Items(list):
    """A dataset of whatever it is given."""


@given(wrong=st.sampled_from([*ANYTHING, *SAMPLES]))
def test_datasets_are_checked_by_evaluate_training_and_the_filter(tmp_path_factory: Any, wrong: Callable[[Any], Any]):
    data: Any = Items([SAMPLE, wrong(SAMPLE)])
    path = tmp_path_factory.mktemp("rows") / "r.jsonl"
    rows = list(evaluate(ReVSeg(policy="oracle", tracker="oracle"), data, path, progress=False))
    assert [row.failure for row in rows] == [None, "crash:PartError"]
    assert "test_checked:Items, sample 1: expected" in rows[1].data["detail"]
    with pytest.raises(PartError, match="dataset test_checked:Items, sample 1: expected"):
        draw(data, 2, 0, 0)
    with pytest.raises(PartError, match="dataset test_checked:Items, sample 1: expected"):
        filter_videos(data, "oracle")


@given(wrong=st.sampled_from([*ANYTHING, *TRACKS, lambda good: MaskTrack.empty(good.size, good.frame_ids, 2)]))
def test_the_filter_checks_its_tracker(wrong: Callable[[Any], Any]):
    with pytest.raises(PartError, match=r"tracker test_checked:Spoilt on .*: expected"):
        filter_videos([SAMPLE], Spoilt("tracker", wrong), whole=True)  # pyright: ignore[reportArgumentType]


TRUTHS = [
    (MaskTrack.from_dense(SCENE.truth.dense()[..., ::2]), "expected masks of 32x24 as the frames, got 16x24"),
    (replace(SCENE.truth, frame_ids=SCENE.truth.frame_ids + 2), f"a mask for frame {FRAMES + 1} of {FRAMES}"),
    (replace(SCENE.truth, frame_ids=SCENE.truth.frame_ids - 1), f"a mask for frame -1 of {FRAMES}"),
    (SCENE.truth.at([0, 2, 1]), "not in order"),
    (SCENE.truth.at([0, 1, 1]), "comes twice"),
]


@pytest.mark.parametrize(("truth", "words"), TRUTHS)
def test_a_truth_of_another_video_is_one_clear_error(truth: MaskTrack, words: str, tmp_path: Path):
    data: Any = Items([SAMPLE, replace(SAMPLE, truth=truth)])
    model = ReVSeg(policy="oracle", tracker="fill_box")
    rows = list(evaluate(model, data, tmp_path / "r.jsonl", batch=2, progress=False))
    assert [row.failure for row in rows] == [None, "crash:InputError"]
    assert words in rows[1].data["detail"]
    for use in (
        lambda: model.segment(SCENE.video, SCENE.query, truth),
        lambda: model.rollouts(data),
        lambda: draw(data, 2, 0, 0),
        lambda: filter_videos(data, "oracle"),
    ):
        with pytest.raises(InputError, match=words):
            use()


def test_a_truth_of_some_frames_is_fine():
    checked.truth(SCENE.truth.at([1, 4]), SCENE.video, SCENE.query)
    checked.truth(MaskTrack.empty(SIZE, [], objects=0), SCENE.video, SCENE.query)
    checked.truth(None, SCENE.video, SCENE.query)
    with pytest.raises(InputError, match=r"got bool\[1, 6, 24, 32\]; MaskTrack.from_dense"):
        checked.truth(SCENE.truth.dense(), SCENE.video, SCENE.query)


def test_what_is_more_than_asked_passes():
    """Subclasses, tuples for lists, other integers: all that works."""

    class Mine(Reply):
        """A reply with more to it."""

    class Own(MaskTrack):
        """A track with more to it."""

    assert len(checked.replies(len, (Mine("x"), changed(REPLY, token_ids=np.arange(3, dtype=np.int32))), 2)) == 2
    track = Own(SCENE.truth.counts, SIZE, SCENE.truth.frame_ids)
    assert checked.masks(len, track, SCENE.video) is track
    assert checked.number("reward", np.float32(0.5)) == 0.5
    assert checked.number("reward", True) == 1.0
    assert checked.answer(len, changed(Answer(), targets=[]), SCENE.clip).absent


@pytest.mark.parametrize("kind", ["policy", "prompt", "parser", "reward", "tracker", "sampler", "dataset"])
def test_what_cannot_be_a_part_is_not_built(kind: str):
    class Nothing:
        """Has no method at all."""

    for wrong in (5, Nothing(), True):
        with pytest.raises(SpecError, match=f"expected a {kind}.*got"):
            build(kind, wrong)


def test_a_class_in_place_of_its_object_is_told_so():
    from revseg.policies.scripted import Scripted

    with pytest.raises(SpecError, match="a class, not an object of it"):
        build("policy", Scripted)


# Training: objectives and trainable policies


def test_training_names_the_objective_and_the_policy():
    import torch

    rewards = torch.zeros(2, 4)
    for wrong in (None, 0.0, rewards.tolist(), rewards[0], rewards[:, :2], rewards[..., None], "x"):
        with pytest.raises(PartError, match=r"objective .*: expected advantages of shape \(2, 4\)"):
            checked.advantages(len, wrong, (2, 4))
    assert checked.advantages(len, rewards, (2, 4)) is rewards
    scalar = torch.zeros(())
    for wrong in (None, scalar, (scalar,), (rewards, {}), (0.0, {}), (scalar, None), (scalar, {"kl": scalar})):
        with pytest.raises(PartError, match=r"objective .*: expected (a scalar loss|figures)"):
            checked.loss(len, wrong)
    assert checked.loss(len, (scalar * torch.nan, {"kl": 0.5}))[1] == {"kl": 0.5}  # NaN: the step is left out
    rollout = Rollout(SCENE.clip, SCENE.query)
    asked = Message("user", ("x",))
    told = [replace(rollout, turns=(_turn(asked, n),)) for n in (3, 2)]
    good = [torch.zeros(3), torch.zeros(2)]
    for wrong in (
        None,
        good[:1],
        [*good, good[0]],
        good[::-1],
        torch.zeros(2, 3),
        [[0.0] * 3, [0.0] * 2],
        generated(*good),
    ):
        with pytest.raises(PartError, match=r"policy .*: expected (the )?log-probs|policy .*: expected the"):
            checked.logprobs(len, wrong, told)
    assert checked.logprobs(len, tuple(good), told) == good


def _turn(message: Message, tokens: int) -> Any:
    from revseg.types import Turn

    return Turn(message, Reply("x", np.arange(tokens), np.zeros(tokens, np.float32)), Answer(), SCENE.clip)


def test_without_the_checks_of_shapes_too(tmp_path: Path):
    """As users run it: nothing but these checks stands between a wrong part and the masks."""
    script = tmp_path / "run.py"
    script.write_text(
        "import numpy as np, revseg\n"
        "world = dict(name='shapes', size=1, split='test', frames=4, height=48, width=48, kinds=['attribute'])\n"
        "sample = revseg.build('dataset', world)[0]\n"
        "base = revseg.ReVSeg(policy='oracle', tracker='fill_box', num_frames=4)\n"
        "masks = base.segment(sample.video, sample.query, sample.truth).masks\n"
        "class Words:\n"
        "    def reply(self, rollouts, prompts, *, sampling): return ['x'] * len(rollouts)\n"
        "tracks = [None, masks.dense(), masks.at([0, 1]), revseg.MaskTrack.from_dense(masks.dense()[..., ::2])]\n"
        "models = [base.replace(tracker=lambda v, g, t=t: t) for t in tracks]\n"
        "models += [base.replace(policy=Words()), base.replace(sampler=lambda v, q, n: v.read([0]))]\n"
        "models += [base.replace(plan=[(lambda r: 'find it', 'keyframe_json')])]\n"
        "for model in models:\n"
        "    try:\n"
        "        model.segment(sample.video, sample.query, sample.truth)\n"
        "    except revseg.errors.PartError as error:\n"
        "        print(error)\n"
        "    else:\n"
        "        raise SystemExit('no error')\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.strip().splitlines()
    assert [line.split()[0] for line in lines] == ["tracker"] * 4 + ["policy", "sampler", "prompt"]
    assert all("__main__:" in line and ": expected " in line and ", got " in line for line in lines)


def test_a_conversation_outside_a_model_is_checked_alike():
    start = Rollout(head(SCENE.video, SCENE.query, 3), SCENE.query)
    pairs: Any = [(lambda rollout: Message("user", (rollout.clip,)), lambda text, shown: None)]

    class Talks:
        """Says x."""

        def reply(self, rollouts: Any, prompts: Any, *, sampling: Any) -> Any:
            return [Reply("x")] * len(rollouts)

    with pytest.raises(PartError, match=r"parser test_checked:.*<lambda>: expected an Answer, got None"):
        converse([start], Talks(), InOrder(pairs), sampling=Sampling())


@pytest.mark.parametrize("wrong", [{"about": (-1,)}, {"about": 0}, {"then": -1}, {"then": 0.5}, {"name": None}])
def test_a_round_that_no_record_could_hold_is_refused(wrong: dict[str, Any]):
    round_ = changed(InOrder([("keyframe", "keyframe_json")]).rounds[0], **wrong)
    with pytest.raises(PartError, match=r"plan .*: expected .* of a Round"):
        checked.round_(lambda rollout: round_, round_)


def test_a_video_of_nothing_is_no_sample():
    empty = Video("v", SIZE, 24.0, 0, lambda ids: np.zeros((0, *SIZE, 3), np.uint8))
    with pytest.raises(PartError, match="a Video of one frame or more"):
        checked.sample([], Sample(empty, Query("q", "x")), 0)
