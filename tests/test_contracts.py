"""The smallest part of each kind goes through its whole life: built, used, evaluated or trained, recorded, rebuilt."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from parts import built

import revseg
from revseg import MaskTrack, ReVSeg
from revseg.errors import InputError
from revseg.evaluation.results import Results
from revseg.objectives import Objective
from revseg.objectives.completed import completed
from revseg.policies.row_seeds import row_seeds
from revseg.testing.squares import moving_squares
from revseg.training.average import average
from revseg.training.config import TrainConfig
from revseg.training.folder import spec_after
from revseg.training.log import read_log
from revseg.types import Answer, Clip, Message, Query, Reply, Rollout, Sample, Target

REPLIES = ("left", "right", "nothing")
BOXES = {"left": [0.0, 0.0, 0.5, 1.0], "right": [0.5, 0.0, 1.0, 1.0]}


class Bandit:
    """The smallest trainable policy: one token a reply, drawn from three, by a linear layer on the question's bytes."""

    def __init__(self, model: str | None = None) -> None:
        self.model = torch.nn.Linear(256, len(REPLIES))
        torch.nn.init.zeros_(self.model.weight)
        torch.nn.init.zeros_(self.model.bias)
        if model is not None:
            self.model.load_state_dict(torch.load(Path(model, "bandit.pt"), weights_only=True))

    def reply(self, rollouts: Sequence[Rollout], prompts: Sequence[Message], *, sampling: Any) -> list[Reply]:
        with torch.no_grad():
            scores = self._scores(rollouts, sampling.temperature or 1.0)
        tokens = scores.argmax(1)
        if sampling.temperature:
            draws = [np.random.default_rng(seed).random() for seed in row_seeds(rollouts, prompts, sampling)]
            below = scores.exp().cumsum(1) < torch.tensor(draws)[:, None]
            tokens = below.sum(1).clamp(max=len(REPLIES) - 1)
        found = scores.gather(1, tokens[:, None]).numpy().astype(np.float32)
        return [Reply(REPLIES[t], np.array([t]), found[i], "stop") for i, t in enumerate(tokens.tolist())]

    def logprobs(self, rollouts: Sequence[Rollout], *, temperature: float = 1.0) -> list[torch.Tensor]:
        scores = self._scores(rollouts, temperature)
        return [row[[int(t.reply.token_ids[0]) for t in r.turns]] for r, row in zip(rollouts, scores, strict=True)]

    def save(self, folder: str) -> None:
        torch.save(self.model.state_dict(), Path(folder, "bandit.pt"))

    def _scores(self, rollouts: Sequence[Rollout], temperature: float) -> torch.Tensor:
        texts = [np.frombuffer(r.query.text.encode(), np.uint8) for r in rollouts]
        counts = torch.tensor(np.stack([np.bincount(t, minlength=256) / len(t) for t in texts]), dtype=torch.float32)
        return (self.model(counts) / temperature).log_softmax(1)


class Reinforce:
    """The smallest objective."""

    def advantages(self, rewards: torch.Tensor) -> torch.Tensor:
        return rewards - rewards.mean(1, keepdim=True)

    def loss(self, new: Any, old: Any, ref: Any, advantages: Any, mask: Any) -> Any:
        return -(advantages[:, None] * new * mask).sum(1).mean(), {}


def ask(rollout: Rollout) -> Message:
    return Message("user", (rollout.clip, rollout.query.text))


def read(text: str, shown: Clip) -> Answer:
    if text not in BOXES:
        return Answer(error="no_side", form=0.0)
    return Answer((Target(int(shown.frame_ids[0]), text, np.array([BOXES[text]], np.float32)),))


def plan(rollout: Rollout) -> revseg.Round | None:
    return None if rollout.turns else revseg.Round("side", ask, read)


class Planned:
    """A plan as a class, with an option."""

    def __init__(self, name: str = "side") -> None:
        self.name = name

    def __call__(self, rollout: Rollout) -> revseg.Round | None:
        return None if rollout.turns else revseg.Round(self.name, ask, read)


def right(rollout: Rollout, truth: MaskTrack) -> float:
    return float(rollout.turns[0].reply.text == "right")


@revseg.batched
def right_all(rollouts: Sequence[Rollout], truths: Sequence[MaskTrack]) -> list[float]:
    return [right(rollout, truth) for rollout, truth in zip(rollouts, truths, strict=True)]


def fill(video: Any, groundings: Any) -> MaskTrack:
    (height, width), box = video.size, groundings[0].boxes[0]
    mask = np.zeros((1, len(video), height, width), bool)
    mask[..., round(box[0] * width) : round(box[2] * width)] = True
    return MaskTrack.from_dense(mask)


def first(video: Any, query: Query, n: int) -> Clip:
    ids = np.arange(min(n, len(video)))
    return Clip(video.read(ids), ids)


def samples() -> list[Sample]:
    scenes = [moving_squares(4, (16, 16), 1, step) for step in range(3)]
    return [Sample(s.video, Query(f"q{i}", "which side? " + "ab"[i % 2]), s.truth) for i, s in enumerate(scenes)]


PARTS: dict[str, Any] = {
    "policy": "test_contracts:Bandit",
    "tracker": "test_contracts:fill",
    "plan": "test_contracts:plan",
    "sampler": "test_contracts:first",
    "rewards": {"test_contracts:right": 1.0},
    "num_frames": 2,
}
OBJECTS: dict[str, Any] = {
    "tracker": fill,
    "plan": plan,
    "sampler": first,
    "rewards": {right: 1.0},
}
WAYS = {
    "specs": {},
    "objects": OBJECTS,
    "a plan of a class": {"plan": "test_contracts:Planned:name=which"},
    "prompt and parser as specs": {"plan": [("test_contracts:ask", "test_contracts:read")]},
    "prompt and parser as objects": {"plan": [(ask, read)]},
    "a batched reward as spec": {"rewards": {"test_contracts:right_all": 1.0}},
    "a batched reward as object": {"rewards": {right_all: 1.0}},
}


def settings(**changes: Any) -> TrainConfig:
    made = {"steps": 12, "queries_per_step": 3, "group_size": 8, "lr": 0.3, "objective": "test_contracts:Reinforce"}
    return TrainConfig(**{**made, "max_new_tokens": 1, **changes})


def told(results: Results) -> list[dict[str, Any]]:
    """The rows without their clocks, and without the names that rewards have when written another way."""
    rows = [{key: value for key, value in row.data.items() if key != "timings"} for row in results]
    return [{**row, "rewards": list(row["rewards"]["values"].values())} for row in rows]


def chance(policy: Any) -> float:
    """How likely the policy says "right"."""
    rollout = Rollout(Clip(np.zeros((1, 2, 2, 3), np.uint8), np.zeros(1, np.int64)), samples()[0].query)
    return policy._scores([rollout], 1.0).exp()[0, 1].item()


@pytest.mark.parametrize("way", WAYS)
def test_used_recorded_and_rebuilt(way: str):
    model, sample = ReVSeg(**{**PARTS, **WAYS[way]}), samples()[0]
    found = model.segment(sample.video, sample.query, truth=sample.truth)
    assert found.status == "found"
    assert found.rewards is not None
    record = json.loads(json.dumps(model.to_dict()))
    again = ReVSeg.from_dict(record, trust=True).segment(sample.video, sample.query, truth=sample.truth)
    assert again.masks.counts == found.masks.counts
    assert again.rewards is not None
    assert list(again.rewards.values.values()) == list(found.rewards.values.values())


@pytest.mark.parametrize("way", WAYS)
def test_evaluated_resumed_and_rebuilt(way: str, tmp_path: Path):
    model = ReVSeg(**{**PARTS, **WAYS[way]})
    whole = revseg.evaluate(model, samples(), tmp_path / "whole.jsonl", progress=False)
    assert [row.failure for row in whole] == [None] * 3
    revseg.evaluate(model, samples(), tmp_path / "part.jsonl", limit=1, progress=False)
    resumed = revseg.evaluate(model, samples(), tmp_path / "part.jsonl", progress=False)
    assert told(resumed) == told(whole)
    again = ReVSeg.from_dict(json.loads(json.dumps(model.to_dict())), trust=True)
    assert told(revseg.evaluate(again, samples(), tmp_path / "again.jsonl", progress=False)) == told(whole)


@pytest.mark.parametrize("objective", ["test_contracts:Reinforce", Reinforce(), "grpo:beta=0"], ids=str)
def test_a_protocol_only_policy_learns(objective: Any, tmp_path: Path):
    trained = revseg.train(ReVSeg(**PARTS), samples(), tmp_path, settings(objective=objective))
    assert trained.policy == f"test_contracts:Bandit:model={tmp_path}"
    assert chance(Bandit()) == pytest.approx(1 / 3)
    assert chance(trained.built_policy) > 0.6
    rewards = [row["reward"] for row in read_log(tmp_path / "log.jsonl")]
    assert np.mean(rewards[-3:]) > np.mean(rewards[:3]) + 0.2
    record = json.loads(json.dumps(trained.to_dict()))
    assert chance(ReVSeg.from_dict(record, trust=True).built_policy) == chance(trained.built_policy)


@pytest.mark.parametrize("way", WAYS)
def test_every_part_trains_alike(way: str, tmp_path: Path):
    policies = [
        revseg.train(ReVSeg(**{**PARTS, **parts}), samples(), tmp_path / name, settings(steps=3))
        for name, parts in (("specs", {}), ("other", WAYS[way]))
    ]
    one, other = (policy.built_policy.model.weight for policy in policies)  # pyright: ignore[reportAttributeAccessIssue]
    assert one.any()
    assert torch.equal(one, other)


def test_a_policy_passed_as_an_object_is_named_by_its_class(tmp_path: Path):
    policy = Bandit()
    trained = revseg.train(ReVSeg(**{**PARTS, "policy": policy}), samples(), tmp_path, settings())
    assert trained.policy == f"test_contracts:Bandit:model={tmp_path}"
    assert chance(trained.built_policy) == chance(policy) > 0.6


def test_two_of_them_have_a_mean(tmp_path: Path):
    specs = [f"test_contracts:Bandit:model={tmp_path / name}" for name in "ab"]
    for name, bias in (("a", 0.0), ("b", 2.0)):
        policy = Bandit()
        torch.nn.init.constant_(policy.model.bias, bias)
        (tmp_path / name).mkdir()
        policy.save(str(tmp_path / name))
    mean = average(dict.fromkeys(specs, 1.0), tmp_path / "mean")
    assert mean == f"test_contracts:Bandit:model={tmp_path / 'mean'}"
    assert built("policy", mean).model.bias.tolist() == [1.0, 1.0, 1.0]


def test_stopped_and_gone_on_with_ends_with_the_same_weights(tmp_path: Path):
    whole = revseg.train(ReVSeg(**PARTS), samples(), tmp_path / "whole", settings(steps=4, save_every=2))
    revseg.train(ReVSeg(**PARTS), samples(), tmp_path / "parts", settings(steps=2, save_every=2))
    parts = revseg.train(ReVSeg(**PARTS), samples(), tmp_path / "parts", settings(steps=4, save_every=2))
    assert chance(whole.built_policy) == chance(parts.built_policy)


@pytest.mark.parametrize("tokens", [1, 2, 7, 1000])
def test_micro_batches_of_a_loss_without_count_add_up(tokens: int, tmp_path: Path):
    trained = revseg.train(
        ReVSeg(**PARTS), samples(), tmp_path, settings(steps=1, max_tokens_per_forward=tokens, grad_clip=1e9)
    )
    whole = revseg.train(ReVSeg(**PARTS), samples(), tmp_path / "whole", settings(steps=1, grad_clip=1e9))
    logs = [read_log(folder / "log.jsonl")[0] for folder in (tmp_path, tmp_path / "whole")]
    assert logs[0]["grad_norm"] == pytest.approx(logs[1]["grad_norm"], rel=1e-4)
    assert logs[0]["grad_norm"] > 0
    assert chance(trained.built_policy) == pytest.approx(chance(whole.built_policy), abs=1e-4)


class Adapted(Bandit):
    """Can be given adapters, and could not switch them off."""

    def add_lora(self, rank: int) -> None: ...


class NoScores:
    """Lacks `logprobs` and `save`; would load large weights if it were built."""

    def __init__(self) -> None:
        raise AssertionError("nothing is built before the check")

    def reply(self, rollouts: Any, prompts: Any, *, sampling: Any) -> list[Reply]:
        return []


class NoFolder(NoScores):
    """Can be trained, but nothing could read what it saved."""

    def logprobs(self, rollouts: Any, *, temperature: float = 1.0) -> list[torch.Tensor]:
        return []

    def save(self, folder: str) -> None: ...


class OnlyAdvantages:
    def advantages(self, rewards: torch.Tensor) -> torch.Tensor:
        return rewards


class PenaltyUnknown(Reinforce):
    beta = 0.1
    kl_in_reward = True


@pytest.mark.parametrize(
    ("parts", "changes", "match"),
    [
        ({"policy": "test_contracts:NoScores"}, {}, "NoScores cannot be trained: it has no logprobs, save"),
        ({"policy": "test_contracts:NoFolder"}, {}, "NoFolder has no option 'model' to read the folder"),
        ({}, {"objective": "grpo"}, "Bandit has no with_model, .* beta=0.001"),
        ({"policy": Bandit()}, {"objective": "grpo"}, "Bandit has no with_model"),
        ({}, {"lora_rank": 4}, "Bandit has no add_lora, which lora_rank=4 needs"),
        ({}, {"freeze_vision": True}, "Bandit has no freeze_vision"),
        ({}, {"gradient_checkpointing": True}, "Bandit has no recompute_activations, .* leave gradient_checkpointing"),
        (
            {"policy": "test_contracts:Adapted"},
            {"lora_rank": 4, "objective": "grpo"},
            "Adapted has no without_adapters",
        ),
        ({}, {"objective": "test_contracts:OnlyAdvantages"}, "OnlyAdvantages has no loss"),
        ({}, {"objective": "test_contracts:PenaltyUnknown"}, "PenaltyUnknown has no kl_penalty"),
        ({}, {"objective": Reinforce}, "the class test_contracts:Reinforce"),
    ],
)
def test_what_is_missing_is_named(parts: Any, changes: Any, match: str, tmp_path: Path):
    with pytest.raises(InputError, match=match):
        revseg.train(ReVSeg(**{**PARTS, **parts}), samples(), tmp_path / "out", settings(**changes))
    assert not (tmp_path / "out" / "log.jsonl").exists()


def test_defaults_of_an_objective_and_what_it_says_itself():
    class Counted(Reinforce):
        def loss(self, new: Any, old: Any, ref: Any, advantages: Any, mask: Any, *, count: Any = None) -> Any:
            return new.sum() / count, {}

        def keep_groups(self, rewards: torch.Tensor) -> torch.Tensor:
            return rewards.amax(1) > 0

    mask = torch.tensor([[True, True], [True, False], [False, False]])
    small, own, builtin = completed(Reinforce()), completed(Counted()), Objective()
    assert (small.beta, small.kl_in_reward, small.weigh_components, small.count(mask)) == (0.0, False, False, 2.0)
    assert small.keep_groups(torch.zeros(2, 3)).tolist() == [True, True]
    assert own.keep_groups(torch.zeros(2, 3)).tolist() == [False, False]
    assert own.loss(torch.ones(1, 2), None, None, None, mask, count=4)[0] == 0.5  # pyright: ignore[reportArgumentType]
    assert completed(builtin) is builtin


class Elsewhere:
    """Its weights come by another option."""

    weights = ("folder", "patch")

    def __init__(self, folder: str = "", patch: str = "", fps: float = 2.0) -> None: ...


def test_the_class_says_which_options_hold_the_weights():
    spec = "test_contracts:Elsewhere:folder=a,patch=b,fps=4.0"
    assert spec_after(spec, Path("x")) == "test_contracts:Elsewhere:folder=x,fps=4.0"
