"""Log-probs of a group: what its rows share is read once, and the numbers and gradients are those of rows alone."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from test_qwen import DRAW, FAMILIES, answered, groups, picture, two_rounds
from tiny_qwen3 import save_tiny

from revseg.policies.hf.chunked_logprobs import vocabulary_logprobs
from revseg.policies.hf.policy import HFPolicy
from revseg.training.config import TrainConfig
from revseg.training.prepare import prepare
from revseg.types import Message, Rollout, Sampling


@pytest.fixture(scope="module", params=FAMILIES)
def policy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> HFPolicy:
    return HFPolicy(save_tiny(request.param, tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def rollouts(policy: HFPolicy) -> list[Rollout]:
    """Groups of 3, 3 and 2, both rounds; of the last group's first row only one round."""
    held = two_rounds(policy, DRAW)
    held[6] = Rollout(held[6].clip, held[6].query, held[6].turns[:1])
    return held


@contextmanager
def patches_seen(policy: HFPolicy) -> Iterator[list[int]]:
    """How many patches each run of the vision tower was given."""
    visual: Any = policy.model.model.visual  # pyright: ignore[reportAttributeAccessIssue]
    seen: list[int] = []
    hook = visual.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    yield seen
    hook.remove()


def checkpointed(policy: HFPolicy) -> HFPolicy:
    """The same weights, in training with activations computed twice."""
    other = policy.with_model(copy.deepcopy(policy.model))
    prepare(other, TrainConfig(gradient_checkpointing=True))
    other.model.train()
    return other


def slopes(policy: HFPolicy, rows: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """The log-probs, and the gradient of a sum of them in which every token weighs differently."""
    scores = torch.cat(rows)
    parameters = list(policy.model.parameters())
    (scores * torch.linspace(-1, 1, len(scores))).sum().backward()
    grads = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in parameters])
    policy.model.zero_grad()
    return scores.detach(), grads


def test_a_group_together_equals_its_rows_alone(policy: HFPolicy, rollouts: list[Rollout]) -> None:
    """Prompts, replies and second prompts of uneven lengths; rows that stop after one round."""
    alone, one_by_one = slopes(policy, [policy.logprobs([r])[0] for r in rollouts])
    assert one_by_one.abs().max() > 1e-3
    together, shared = slopes(policy, policy.logprobs(rollouts))
    torch.testing.assert_close(together, alone, atol=2e-5, rtol=0)
    torch.testing.assert_close(shared, one_by_one, atol=2e-5, rtol=1e-4)
    saving = checkpointed(policy)
    together, shared = slopes(saving, saving.logprobs(rollouts))
    torch.testing.assert_close(together, alone, atol=2e-5, rtol=0)
    torch.testing.assert_close(shared, one_by_one, atol=2e-5, rtol=1e-4)


def test_questions_about_one_clip_share_it(policy: HFPolicy, rollouts: list[Rollout]) -> None:
    """Prompts that differ after the clip: of uneven lengths, beside another clip, with a second round on one."""

    def ask(rollout: Rollout, words: str) -> Rollout:
        first, *rest = rollout.turns
        parts = tuple(part for part in first.prompt.parts if not isinstance(part, str))
        prompt = replace(first.prompt, parts=(*parts, words))
        return replace(rollout, turns=(replace(first, prompt=prompt), *rest))

    some = [
        ask(rollouts[0], " where"),
        ask(rollouts[1], " the red circle on the left"),
        ask(rollouts[2], ""),
        ask(rollouts[3], " where is it"),
    ]
    alone, one_by_one = slopes(policy, [policy.logprobs([r])[0] for r in some])
    with patches_seen(policy) as seen:
        together, shared = slopes(policy, policy.logprobs(some))
    torch.testing.assert_close(together, alone, atol=2e-5, rtol=0)
    torch.testing.assert_close(shared, one_by_one, atol=2e-5, rtol=1e-4)
    clips, pictures = (3 + 4) * 16, sum(len(rollout.turns[1:]) for rollout in some) * 36
    assert sum(seen) == clips + pictures


def test_order_and_mixture_change_nothing(policy: HFPolicy, rollouts: list[Rollout]) -> None:
    """Rows of several groups in any order; a group's row among strangers."""
    expected = {id(r): row for r, row in zip(rollouts, policy.logprobs(rollouts), strict=True)}
    for some in (rollouts[::-1], [rollouts[i] for i in (6, 0, 3, 1, 7)], rollouts[2:4]):
        for rollout, row in zip(some, policy.logprobs(some), strict=True):
            torch.testing.assert_close(row, expected[id(rollout)], atol=2e-5, rtol=0)


def test_the_vision_tower_meets_each_clip_once(policy: HFPolicy, rollouts: list[Rollout]) -> None:
    clips = [16 * t for t in (3, 4, 6)]  # of 5, 8 and 11 frames: pairs of frames, 4 x 4 patches each
    pictures = 7 * 36
    with patches_seen(policy) as seen:
        policy.logprobs(rollouts)
    assert sum(seen) == sum(clips) + pictures
    saving = checkpointed(policy)
    with patches_seen(saving) as seen:
        saving.logprobs(rollouts)
    assert sum(seen) == sum(clips) + pictures


@pytest.mark.parametrize("temperature", [1.0, 0.7, 0.0])
def test_chunks_of_the_vocabulary_equal_the_whole(temperature: float) -> None:
    """A head with a bias; all gradients, against autograd on the whole."""
    torch.manual_seed(0)
    head = torch.nn.Linear(16, 50)
    states, ids, weights = torch.randn(7, 16), torch.randint(10, 50, (7,)), torch.randn(7)
    found = []
    for chunk in (2, 100, 0):
        hidden = states.clone().requires_grad_()
        if chunk:
            scores = vocabulary_logprobs(head, hidden, ids, suppressed=[3, 5], temperature=temperature, chunk=chunk)
        else:
            logits = head(hidden)
            logits[:, [3, 5]] = -torch.inf
            scores = (logits / (temperature or 1.0)).log_softmax(-1).gather(-1, ids[:, None])[:, 0]
        slopes = torch.autograd.grad((scores * weights).sum(), [head.weight, head.bias, hidden])
        found.append((scores.detach(), *slopes))
    for some in found[:2]:
        for a, b in zip(some, found[2], strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_a_frozen_head_and_half_precision() -> None:
    """Under autocast the head works in bfloat16, forwards and backwards, and the gradient keeps float32."""
    torch.manual_seed(0)
    head = torch.nn.Linear(16, 50).requires_grad_(False)
    states, ids = torch.randn(5, 16), torch.arange(5)
    slopes = []
    for half in (False, True):
        hidden = states.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            scores = vocabulary_logprobs(head, hidden, ids)
        assert scores.dtype == torch.float32
        scores.sum().backward()
        assert hidden.grad is not None
        assert hidden.grad.dtype == torch.float32
        slopes.append(hidden.grad)
    assert head.weight.grad is None
    torch.testing.assert_close(slopes[1], slopes[0], atol=2e-2, rtol=2e-2)
    assert len(vocabulary_logprobs(head, states[:0], ids[:0])) == 0


def test_equal_pictures_are_seen_once(policy: HFPolicy) -> None:
    """Eight second prompts that show three pictures between them: patches of three, tokens and log-probs of eight."""
    rollouts, prompts = groups((4, 4))
    drawn = Sampling(temperature=1.0, max_new_tokens=6, seed=1)
    first = answered(rollouts, prompts, policy.reply(rollouts, prompts, sampling=drawn))
    asked = [Message("user", (picture(max(i - 5, 0), side=84), f"find {i}")) for i in range(8)]
    with patches_seen(policy) as seen:
        replies = policy.reply(first, asked, sampling=drawn)
    assert seen == [3 * 36]
    held = answered(first, asked, replies)
    with patches_seen(policy) as seen:
        together = policy.logprobs(held)
    assert seen[-1] == 3 * 36
    for rollout, row in zip(held, together, strict=True):
        torch.testing.assert_close(row, policy.logprobs([rollout])[0], atol=2e-5, rtol=0)
        sampled = torch.from_numpy(np.concatenate([turn.reply.logprobs for turn in rollout.turns]))
        torch.testing.assert_close(row.detach(), sampled, atol=1e-4, rtol=0)
