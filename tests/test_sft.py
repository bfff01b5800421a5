"""Demonstrations are right by the library's own parsers and rewards; imitating them lowers the loss."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_qwen import save_tiny_qwen

from revseg.policies.hf.policy import HFPolicy
from revseg.registry import build
from revseg.rewards import score
from revseg.shapes.dataset import Shapes
from revseg.shapes.demonstrations import Demonstrator
from revseg.shapes.excerpts import draw_start
from revseg.shapes.fine_tuning import SFTConfig, batch, parts, scene_frames, sft
from revseg.shapes.samples import all_objects
from revseg.shapes.scene_captions import TOPICS, caption
from revseg.training.log import read_log
from revseg.types import Rollout, Turn

TWO = (("keyframe_terse:size=56", "keyframe_json"), ("box_terse:size=112", "box_json"))
ONE = (("keyframe_and_box_terse:size=112", "keyframe_and_box_json"),)


def parsed(rollout: Rollout, rounds: tuple[tuple[str, str], ...]) -> Rollout:
    """The demonstration read by the parsers, as a policy's replies are."""
    turns = []
    for turn, (_, parser) in zip(rollout.turns, rounds, strict=False):
        shown = turn.prompt.clips[-1]
        turns.append(Turn(turn.prompt, turn.reply, build("parser", parser)(turn.reply.text, shown), shown))
    return Rollout(rollout.clip, rollout.query, tuple(turns))


@pytest.mark.parametrize("rounds", [TWO, ONE], ids=["two", "one"])
def test_demonstrations_are_right(rounds: tuple[tuple[str, str], ...]) -> None:
    prompts = tuple(build("prompt", prompt) for prompt, _ in rounds)
    demonstrator = Demonstrator(prompts, lambda text: [1])
    for sample in Shapes(size=40, seed=3):
        clip = build("sampler", "uniform")(sample.video, sample.query, 8)
        rollout = parsed(demonstrator.conversation(sample, clip, np.random.default_rng(0)), rounds)
        assert rollout.error is None
        assert sample.truth is not None
        values = score(rollout, sample.truth).values
        assert values["format"] == 1.0
        assert values["spatial"] == 1.0, rollout.turns[-1].reply.text
        if sample.meta["kind"] not in ("absent", "several"):
            assert rollout.targets[0].description == sample.meta["descriptions"][0]


def test_keyframes_show_enough_of_the_target() -> None:
    """At least the asked share of the largest box area, whichever of the good frames is drawn."""
    demonstrator = Demonstrator((build("prompt", "keyframe_terse:size=56"),), lambda text: [1], visible=0.6)
    for seed, sample in enumerate(Shapes(size=20, kinds=["motion"])):
        clip = build("sampler", "uniform")(sample.video, sample.query, 16)
        rollout = demonstrator.conversation(sample, clip, np.random.default_rng(seed))
        frame_id = rollout.targets[0].frame_id
        assert sample.truth is not None
        assert frame_id is not None
        keyframe = clip.frame_ids.tolist().index(frame_id)
        x1, y1, x2, y2 = sample.truth.union().at(clip.frame_ids).boxes.T
        areas = (x2 - x1) * (y2 - y1)
        assert areas[keyframe] >= 0.6 * areas.max()


def test_low_quality_demonstrations_are_right_but_careless() -> None:
    """The right name without what it rests on, a keyframe with anything of the target, a box that is roughly there."""
    careful = Demonstrator(tuple(build("prompt", prompt) for prompt, _ in TWO), lambda text: [1])
    low = careful.low_quality()
    found: dict[str, list[float]] = {"careful": [], "low": []}
    for seed, sample in enumerate(Shapes(size=30, kinds=["motion", "time"], seed=5, brief=0.8)):
        assert sample.truth is not None
        clip = build("sampler", "uniform")(sample.video, sample.query, 16)
        for name, demonstrator in (("careful", careful), ("low", low)):
            rollout = parsed(demonstrator.conversation(sample, clip, np.random.default_rng(seed)), TWO)
            values = score(rollout, sample.truth, {"format": 1.0, "temporal:soft=False": 1.0}).values
            assert list(values.values()) == [1.0, 1.0]
            assert [t.description for t in rollout.targets] == sample.meta["descriptions"]
            thinking = rollout.turns[0].reply.text.partition("</think>")[0]
            assert (" . " in thinking) == (name == "careful" and " . " in sample.meta["thinking"])
            assert "so " + sample.meta["descriptions"][0] in thinking
            found[name].append(score(rollout, sample.truth, {"temporal": 1.0, "spatial:soft=True": 1.0}).total)
    assert np.mean(found["low"]) < np.mean(found["careful"]) - 0.2


def test_low_quality_demonstrations_have_their_share(tmp_path: Path) -> None:
    policy = HFPolicy(save_tiny_qwen(tmp_path))
    data = Shapes(size=100, kinds=["motion"])
    careful, mixed, low = (
        [len(r.turns[0].reply.text) for r in batch(policy, data, replace(CONFIG, batch=24, low_quality_share=share), 0)]
        for share in (0.0, 0.5, 1.0)
    )
    assert max(low) < min(careful)
    assert 6 <= sum(length <= max(low) for length in mixed) <= 18


CONFIG = SFTConfig(
    steps=8,
    batch=4,
    muon_lr=0.02,
    warmup=2,
    rounds=TWO,
    one_round=ONE[0],
    one_round_share=0.25,
    num_frames=4,
    save_every=4,
    bf16=False,
)


def run(folder: Path, start: str, stop_after: int | None = None, workers: int = 0) -> HFPolicy:
    policy = HFPolicy(start)

    def report(row: dict[str, float]) -> None:
        if row["step"] == stop_after:
            raise KeyboardInterrupt

    sft(policy, Shapes(size=64), folder, replace(CONFIG, workers=workers), report=report)
    return policy


@pytest.mark.slow
def test_learns_and_a_stopped_run_ends_the_same(tmp_path: Path) -> None:
    start = save_tiny_qwen(tmp_path / "start", stops=False)
    whole = run(tmp_path / "whole", start)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", start, stop_after=5)
    resumed = run(tmp_path / "cut", start, workers=2)
    for (name, a), (_, b) in zip(whole.model.named_parameters(), resumed.model.named_parameters(), strict=True):
        assert torch.equal(a, b), name
    logs = [read_log(tmp_path / name / "log.jsonl") for name in ("whole", "cut")]
    assert [row["step"] for row in logs[1]] == list(range(CONFIG.steps))  # step 4 and 5 were written twice
    assert [row["loss"] for row in logs[0]] == [row["loss"] for row in logs[1]]
    losses = [row["loss"] for row in logs[0]]
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])
    saved = HFPolicy(str(tmp_path / "whole"))
    assert saved.defaults["num_frames"] == 4
    assert [list(pair) for pair in saved.defaults["plan"]] == [list(pair) for pair in TWO]


def test_scene_captions_cover_all_objects() -> None:
    """Both frames' objects, each with the box that it has on the frame named; frames keep their numbers."""
    demonstrator = Demonstrator((build("prompt", "keyframe_and_box_terse:size=112"),), lambda text: [1], grid=1)
    for seed in range(20):
        sample = Shapes(size=20, seed=4)[seed]
        clip = build("sampler", "uniform")(sample.video, sample.query, 16)
        objects = all_objects(sample)
        rollout = demonstrator.scene(clip, np.random.default_rng(seed), objects)
        answer = build("parser", "keyframe_and_box_json")(rollout.turns[0].reply.text, clip)
        assert answer.error is None
        (part,) = rollout.turns[0].prompt.clips
        shown = objects.at(part.frame_ids)
        start = rollout.clip.frame_ids.tolist().index(part.frame_ids[0])
        assert (len(part), start % 2) == (2, 0)
        seen = [o for o in range(shown.objects) if shown.select([o]).boxes.any()]
        assert [t.description for t in answer.targets] == [shown.names[o] for o in seen]
        for target, o in zip(answer.targets, seen, strict=True):
            assert target.frame_id is not None
            assert np.abs(target.boxes[0] - shown.select([o]).at([target.frame_id]).boxes[0]).max() <= 1 / 112


def test_box_rounds_ask_for_all_on_one_picture() -> None:
    """The picture comes once; each further question is words, and each answer the object's box on that frame."""
    demonstrator = Demonstrator(tuple(build("prompt", prompt) for prompt, _ in TWO), lambda text: [1], grid=1)
    for seed, sample in enumerate(Shapes(size=12, seed=5)):
        clip = build("sampler", "uniform")(sample.video, sample.query, 8)
        objects = all_objects(sample)
        rollout = demonstrator.boxes(sample, clip, np.random.default_rng(seed), objects)
        assert [len(turn.prompt.clips) for turn in rollout.turns] == [1] + [0] * (len(rollout.turns) - 1)
        picture = rollout.turns[0].prompt.clips[0]
        truth = objects.at(picture.frame_ids)
        asked = [turn.prompt.text.strip() for turn in rollout.turns]
        assert len(set(asked)) == len(asked)
        for turn, name in zip(rollout.turns, asked, strict=True):
            (target,) = build("parser", "box_json")(turn.reply.text, picture).targets
            assert np.abs(target.boxes[0] - truth.select([truth.names.index(name)]).boxes[0]).max() <= 1 / 112


@pytest.mark.parametrize(("rate", "moved"), [(0.0, False), (0.1, True)])
def test_the_vision_tower_can_be_frozen(tmp_path: Path, rate: float, moved: bool) -> None:
    policy = HFPolicy(save_tiny_qwen(tmp_path / "start", stops=False))
    names = {True: "visual.blocks.0.mlp.up_proj.weight", False: "language_model.layers.0.mlp.up_proj.weight"}
    model: Any = policy.model
    before = {seen: model.model.get_parameter(name).clone() for seen, name in names.items()}
    sft(policy, Shapes(size=64), tmp_path / "run", replace(CONFIG, steps=2, vision_lr_scale=rate))
    change = {seen: (model.model.get_parameter(n) - before[seen]).abs().max() for seen, n in names.items()}
    assert (change[True] > 0) == moved
    assert change[False] > 2 * change[True]


def test_rows_of_a_batch_are_drawn_one_by_one(tmp_path: Path) -> None:
    """What a process under torchrun draws is what the whole batch holds there."""
    policy, data = HFPolicy(save_tiny_qwen(tmp_path, stops=False)), Shapes(size=64)
    whole = batch(policy, data, CONFIG, 3)
    odd = batch(policy, data, CONFIG, 3, None, slice(1, None, 2))
    assert [r.turns[0].reply.text for r in odd] == [r.turns[0].reply.text for r in whole[1::2]]


def test_extra_questions_are_about_the_same_clip() -> None:
    world = Shapes(size=8, seed=6)
    demonstrator = Demonstrator(tuple(build("prompt", prompt) for prompt, _ in TWO), lambda text: [1])
    for sample in world:
        clip = build("sampler", "uniform")(sample.video, sample.query, 8)
        more = world.extra_questions(sample, np.random.default_rng(1), 2)
        rollouts = demonstrator.extra_questions(sample, clip, np.random.default_rng(0), more)
        assert [rollout.query for rollout in rollouts] == [question.query for question in more]
        for rollout, question in zip(rollouts, more, strict=True):
            (turn,) = rollout.turns
            asked = demonstrator.prompts[0](Rollout(clip, question.query))
            assert turn.prompt.text == asked.text
            assert np.array_equal(turn.prompt.clips[0].frames, asked.clips[0].frames)
            read = build("parser", "keyframe_json")(turn.reply.text, clip)
            assert [t.description for t in read.targets] == [t.description for t in turn.answer.targets]
            assert {t.description for t in read.targets} <= set(question.meta["descriptions"])


def test_parts_of_a_batch(tmp_path: Path) -> None:
    """Nothing is lost; questions about one clip stay together; the others lie with those of like length."""
    policy, world = HFPolicy(save_tiny_qwen(tmp_path, stops=False)), Shapes(size=64)
    config = replace(CONFIG, batch=6, one_round_share=0.3, extra_questions=3)
    rollouts = batch(policy, world, config, 0, None, extra_questions=world.extra_questions)
    cut = parts(rollouts, 2)
    assert sorted(map(id, rollouts)) == sorted(id(rollout) for part in cut for rollout in part)
    homes: dict[int, set[int]] = {}
    for index, part in enumerate(cut):
        asked = [rollout for rollout in part if len(rollout.turns) == 1]
        assert len({id(rollout.clip) for rollout in part}) <= 2
        for rollout in asked:
            homes.setdefault(id(rollout.clip), set()).add(index)
    assert all(len(places) == 1 for places in homes.values())
    assert any(len(part) > 2 for part in cut)  # a clip's four count as one


def test_captions_by_hand() -> None:
    """Four frames of a thing that comes on the second and grows to the right; then one that is never seen."""
    boxes = np.array([[0, 0, 0, 0], [0.1, 0.42, 0.3, 0.62], [0.3, 0.42, 0.5, 0.62], [0.4, 0.32, 0.8, 0.72]], np.float32)
    assert caption(boxes, "when") == "from 1 to 3"
    assert caption(boxes, "where") == "20 52 to 40 52 to 60 52"
    assert caption(boxes, "size") == "size 20 to 40"
    assert caption(boxes, "when", 10) == "from 11 to 13"
    assert caption(boxes, "at 13", 10) == "60 52"
    assert [caption(boxes, f"at {frame}") for frame in (0, 1, 3)] == ["is not there", "20 52", "60 52"]
    assert {caption(np.zeros((4, 4), np.float32), topic.replace("at", "at 0")) for topic in TOPICS} == {""}
    gap = np.where(np.arange(4)[:, None] == 2, 0, boxes).astype(np.float32)
    assert caption(gap, "where").split(" to ")[1] == "20 52"  # hidden half-way: the nearest frame that shows it


def test_scenes_double_their_frames() -> None:
    config = SFTConfig(scene_steps=8, num_frames=16)
    assert [scene_frames(step, config) for step in range(8)] == [2, 2, 4, 4, 8, 8, 16, 16]
    assert scene_frames(0, SFTConfig(scene_steps=1, num_frames=1)) == 1


def test_excerpts_show_objects_appear_and_disappear() -> None:
    visible = np.ones((2, 16), bool)
    visible[0, :11] = False
    starts = [draw_start(visible, 4, np.random.default_rng(seed)) for seed in range(200)]
    assert set(starts) <= set(range(0, 13, 2))
    assert np.mean([8 <= at <= 10 for at in starts]) > 0.7
    assert {draw_start(visible, 16, np.random.default_rng(seed)) for seed in range(20)} == {0}
    assert {draw_start(visible[1:], 2, np.random.default_rng(seed)) for seed in range(300)} == set(range(0, 15, 2))
    assert draw_start(visible[:, :1], 2, np.random.default_rng(0)) == 0
