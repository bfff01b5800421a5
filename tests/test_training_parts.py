"""The pieces of the training loop, one at a time: gradients of a step, references, settings, warnings, checkpoints."""

import copy
import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st
from parts import built
from tiny_qwen import save_tiny_qwen
from training_world import LIMIT, config, samples, tiny

from revseg.errors import InputError, OutputError
from revseg.pipeline import ReVSeg
from revseg.policies.hf.policy import HFPolicy
from revseg.training.checkpoint import load_checkpoint, save_checkpoint
from revseg.training.config import TrainConfig
from revseg.training.folder import changed, keep, spec_after
from revseg.training.grpo import Run, descend, judge, learn
from revseg.training.log import Log, means, read_log
from revseg.training.optimizers import make_optimizers, scale_rates, warmup_then_decay
from revseg.training.prepare import prepare, reference_of, trained
from revseg.training.reference import make_reference
from revseg.training.rollouts import Judged, cut_off, draw, figures, packs, pad
from revseg.training.update import advantages_of, batch_of, gradients, update
from revseg.training.warnings import WINDOW, warnings_of
from revseg.types import RewardBreakdown, Sampling, TrainablePolicy


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_qwen(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def start(folder: str) -> tuple[HFPolicy, Judged]:
    """A policy that no test may change, and two groups of three conversations with it."""
    model = tiny(folder, sampling=Sampling(1.0, max_new_tokens=LIMIT))
    judged = judge(model, samples(), config(), 0, Accelerator())
    policy: Any = model.built_policy
    return policy, judged


def scored(judged: Judged, totals: list[float]) -> Judged:
    """The same conversations under other rewards."""
    return Judged(judged.rollouts, [RewardBreakdown({"r": t}, {"r": 1.0}) for t in totals], judged.n)


def gradient(
    policy: HFPolicy, judged: Judged, objective: str, *, reference: Any = None, **changes: Any
) -> tuple[torch.Tensor, dict[str, float]]:
    """The gradient of one step as a vector, and its figures; the policy is left as it was."""
    logged = update(policy, built("objective", objective), reference, judged, config(**changes), Accelerator())
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained(policy)]
    policy.model.zero_grad()
    return torch.cat([grad.reshape(-1) for grad in grads]), logged


def moved(policy: HFPolicy) -> HFPolicy:
    """The policy after its weights have changed a little."""
    other = policy.with_model(copy.deepcopy(policy.model))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in other.model.parameters():
            p += 0.02 * torch.randn(p.shape, generator=generator)
    return other


SPREAD = [0.1, 0.5, 0.9, 1.0, 0.0, 0.3]


@pytest.mark.parametrize("objective", ["grpo:beta=0.5", "dapo:beta=0.1", "dr_grpo:max_length=8", "gspo:beta=0.1"])
def test_micro_batches_change_nothing(start: tuple[HFPolicy, Judged], objective: str):
    policy, judged = start[0], scored(start[1], SPREAD)
    reference = make_reference(moved(policy), "copy", 1.0)
    whole, one = gradient(policy, judged, objective, reference=reference, max_tokens_per_forward=100_000)
    parts, several = gradient(policy, judged, objective, reference=reference, max_tokens_per_forward=1)
    assert whole.abs().max() > 1e-3
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-4)
    assert several == pytest.approx(one, abs=1e-5)


def test_gradient_checkpointing_changes_nothing(start: tuple[HFPolicy, Judged], folder: str):
    policy, judged = start[0], scored(start[1], SPREAD)
    saving = HFPolicy(folder)
    prepare(saving, config(gradient_checkpointing=True))
    assert saving.model.is_gradient_checkpointing
    whole, _ = gradient(policy, judged, "grpo:beta=0")
    again, _ = gradient(saving, judged, "grpo:beta=0")
    torch.testing.assert_close(again, whole, atol=1e-5, rtol=1e-4)


def test_the_step_is_reinforce_by_hand(start: tuple[HFPolicy, Judged]):
    """On-policy GRPO without KL: minus the mean over rollouts of A times the mean log-prob of their tokens."""
    policy, judged = start[0], scored(start[1], SPREAD)
    rewards = torch.tensor(SPREAD, dtype=torch.float64).reshape(2, 3)
    advantages = ((rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-6)).reshape(-1)
    rows = policy.logprobs(judged.rollouts)
    loss = -torch.stack([a * row.mean() for a, row in zip(advantages.tolist(), rows, strict=True)]).sum() / 6
    expected = torch.autograd.grad(loss, trained(policy), allow_unused=True)
    flat = torch.cat([(torch.zeros_like(p) if g is None else g).reshape(-1) for p, g in _pairs(policy, expected)])
    found, logged = gradient(policy, judged, "grpo:beta=0")
    torch.testing.assert_close(found, flat, atol=1e-5, rtol=1e-4)
    assert logged["ratio"] == pytest.approx(1, abs=1e-4)


def _pairs(policy: HFPolicy, grads: Any) -> Any:
    return zip(trained(policy), grads, strict=True)


def test_a_rollout_that_a_reward_left_unjudged_counts_neither_way(start: tuple[HFPolicy, Judged]):
    """Of two rewards one judged some rollouts of the first group and none of the second."""
    rows = [{"b": 0.1}, {"a": 0.2, "b": 0.2}, {"a": 0.6, "b": 0.3}, {"b": 1.0}, {"b": 0.0}, {"b": 0.5}]
    weights = {"a": 2.0, "b": 1.0}
    judged = Judged(start[1].rollouts, [RewardBreakdown(row, {n: weights[n] for n in row}) for row in rows], 3)
    assert judged.names == ["b", "a"]
    assert judged.weights.tolist() == [1.0, 2.0]
    assert judged.components[..., 0].tolist() == [[0.1, 0.2, 0.3], [1.0, 0.0, 0.5]]
    np.testing.assert_allclose(judged.components[..., 1], [[0.4, 0.2, 0.6], [0, 0, 0]])
    logged = figures(judged, start[0])
    assert (logged["reward/a"], logged["reward/b"]) == pytest.approx((0.4, 0.35))
    assert gradient(start[0], judged, "gdpo:beta=0")[0].isfinite().all()


def after(folder: str, judged: Judged, objective: str, updates: int) -> tuple[torch.Tensor, dict[str, float]]:
    """The weights after one step of `learn`, as a vector, and what it logs; plain SGD."""
    policy = HFPolicy(folder)
    optimizers = [torch.optim.SGD(policy.model.parameters(), lr=0.5)]
    settings = config(updates_per_batch=updates, grad_clip=1e9, lr=0.5)
    made = built("objective", objective)
    logged = learn(Run(tiny(folder), policy, made, None, optimizers, samples(), settings, Accelerator()), judged, 0)
    return torch.cat([p.detach().reshape(-1) for p in policy.model.parameters()]), logged


def test_two_updates_are_two_steps_on_the_same_rollouts(start: tuple[HFPolicy, Judged], folder: str):
    """By hand: advantages once, then gradient and SGD step twice; the ratio that is logged is the first one."""
    judged, policy, objective = scored(start[1], SPREAD), HFPolicy(folder), built("objective", "grpo:beta=0")
    batch = batch_of(policy, objective, None, judged, config(), Accelerator())
    logged = []
    for _ in range(2):
        logged.append(gradients(policy, objective, batch, config(), Accelerator()))
        with torch.no_grad():
            for p in trained(policy):
                p -= 0.5 * (0 if p.grad is None else p.grad)
                p.grad = None
    found, row = after(folder, judged, "grpo:beta=0", 2)
    torch.testing.assert_close(found, torch.cat([p.detach().reshape(-1) for p in policy.model.parameters()]))
    assert row["ratio"] == pytest.approx(logged[0]["ratio"], abs=1e-9)
    assert abs(logged[1]["ratio"] - 1) > 1e-3
    assert row["loss"] == pytest.approx((logged[0]["loss"] + logged[1]["loss"]) / 2, abs=1e-6)
    assert row["clip_fraction"] == pytest.approx(logged[1]["clip_fraction"] / 2)
    assert row["clip_fraction"] > 0


def test_objectives_that_are_one_with_one_update_differ_with_two(start: tuple[HFPolicy, Judged], folder: str):
    judged = scored(start[1], SPREAD)
    torch.testing.assert_close(
        after(folder, judged, "grpo:beta=0", 1)[0], after(folder, judged, "gspo:beta=0", 1)[0], atol=1e-5, rtol=1e-4
    )
    different = after(folder, judged, "grpo:beta=0", 2)[0] - after(folder, judged, "gspo:beta=0", 2)[0]
    assert different.abs().max() > 1e-3


def test_dynamic_sampling_leaves_flat_groups_out(start: tuple[HFPolicy, Judged]):
    """Token means: without it the flat group's tokens count, with it the other group stands alone."""
    policy, judged = start[0], scored(start[1], [0.5, 0.5, 0.5, 1.0, 0.0, 0.3])
    alone = Judged(judged.rollouts[3:], judged.rewards[3:], 3)
    expected, _ = gradient(policy, alone, "dapo:beta=0")
    found, _ = gradient(policy, judged, "dapo:beta=0,dynamic_sampling=True")
    diluted, _ = gradient(policy, judged, "dapo:beta=0,dynamic_sampling=False")
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert diluted.norm() < 0.9 * expected.norm()


def test_overlong_replies_give_no_gradient(start: tuple[HFPolicy, Judged]):
    policy, judged = start[0], scored(start[1], SPREAD)
    long = [cut_off(rollout, policy.stops) for rollout in judged.rollouts]
    assert 0 < sum(long) < 6, "the case wants both"
    found, _ = gradient(policy, judged, "grpo:beta=0,overlong_filter=True")
    rewards = torch.tensor(SPREAD, dtype=torch.float64).reshape(2, 3)
    advantages = ((rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-6)).reshape(-1)
    rows = policy.logprobs(judged.rollouts)
    terms = [a * row.mean() for a, row, out in zip(advantages.tolist(), rows, long, strict=True) if not out]
    grads = torch.autograd.grad(-torch.stack(terms).mean(), trained(policy), allow_unused=True)
    flat = torch.cat([(torch.zeros_like(p) if g is None else g).reshape(-1) for p, g in _pairs(policy, grads)])
    torch.testing.assert_close(found, flat, atol=1e-5, rtol=1e-4)


def test_advantages_of_components_and_of_totals(start: tuple[HFPolicy, Judged]):
    judged = start[1]
    weights = torch.tensor([1.0, 0.5], dtype=torch.float64)
    parts = torch.tensor([[r.values[name] for name in r.values] for r in judged.rewards], dtype=torch.float64)
    mask = torch.ones(6, 3, dtype=torch.bool)
    for spec, given_, kwargs in (
        ("gdpo:beta=0", parts.reshape(2, 3, 2), {"weights": weights, "lengths": torch.full((2, 3), 3)}),
        ("grpo:beta=0", (parts @ weights).reshape(2, 3), {}),
    ):
        objective = built("objective", spec)
        found, kept = advantages_of(objective, judged, mask, None, Accelerator())
        expected = objective.advantages(given_, **kwargs).reshape(-1).float()
        torch.testing.assert_close(found, expected)
        assert kept.tolist() == [True] * 6


def test_a_kl_in_the_reward_is_taken_from_it(start: tuple[HFPolicy, Judged]):
    """RLOO: every rollout's summed k1 lowers its reward; by hand from the two log-probs."""
    policy, judged = start[0], scored(start[1], SPREAD)
    other = moved(policy)
    with torch.no_grad():
        rows = zip(policy.logprobs(judged.rollouts), other.logprobs(judged.rollouts), strict=True)
        penalty = 0.3 * torch.stack([(mine - theirs).sum() for mine, theirs in rows])
    less = scored(judged, (torch.tensor(SPREAD) - penalty).tolist())
    expected, _ = gradient(policy, less, "rloo:beta=0")
    found, logged = gradient(policy, judged, "rloo:beta=0.3", reference=make_reference(other, "copy", 1.0))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)
    assert logged["kl_penalty"] == pytest.approx(penalty.mean().item(), abs=1e-4)


@pytest.mark.parametrize("kind", ["copy", "cpu"])
def test_a_copied_reference_stays_when_the_policy_moves(folder: str, start: tuple[HFPolicy, Judged], kind: str):
    policy, judged = HFPolicy(folder), start[1]
    expected = [row.detach().clone() for row in policy.logprobs(judged.rollouts)]
    reference = make_reference(policy, kind, 1.0)
    before = reference(judged.rollouts)
    torch.testing.assert_close(before, expected, atol=1e-6, rtol=0)  # kernels differ without gradients
    with torch.no_grad():
        for p in policy.model.parameters():
            p += 0.1
    rows = reference(judged.rollouts)
    torch.testing.assert_close(rows, before, atol=0, rtol=0)
    torch.testing.assert_close(rows, expected, atol=1e-6, rtol=0)
    assert not any(row.requires_grad for row in rows)


def test_adapters_off_are_the_reference(folder: str, start: tuple[HFPolicy, Judged]):
    base, judged = start
    policy = HFPolicy(folder)
    prepare(policy, config(lora_rank=2))
    reference = reference_of(policy, config(lora_rank=2))
    with torch.no_grad():
        for name, p in policy.model.named_parameters():
            if "lora_" in name:
                p += 0.1
    expected = [row.detach() for row in base.logprobs(judged.rollouts)]
    torch.testing.assert_close(reference(judged.rollouts), expected, atol=1e-6, rtol=0)
    assert (policy.logprobs(judged.rollouts)[0] - expected[0]).abs().max() > 1e-3


def test_queries_in_small_batches_give_the_same_conversations(folder: str, start: tuple[HFPolicy, Judged]):
    """The cache of one batch at a time: memory does not grow with the prompts of a step."""
    model = tiny(folder, sampling=Sampling(1.0, max_new_tokens=LIMIT))
    policy: Any = model.built_policy
    policy.batch_size = policy._sessions.batch_size = 3
    held: list[int] = []
    forget = policy.forget
    policy.forget = lambda: (held.append(sum(len(s.replies) for s in policy._sessions._kept)), forget())
    judged = judge(model, samples(), config(), 0, Accelerator())
    texts = [[[t.reply.text for t in r.turns] for r in j.rollouts] for j in (judged, start[1])]
    assert texts[0] == texts[1]
    assert len(held) == 2
    assert max(held) <= 3


def test_what_a_log_row_says(start: tuple[HFPolicy, Judged]):
    policy, judged = start[0], scored(start[1], [0.5, 0.5, 0.5, 1.0, 0.0, 0.5])
    row = figures(judged, policy)
    assert row["reward"] == pytest.approx(0.5)
    assert row["reward_std"] == pytest.approx((0 + np.std([1.0, 0.0, 0.5])) / 2)
    assert row["flat_groups"] == 0.5
    failed = sum(value for name, value in row.items() if name.startswith("failed/"))
    assert failed == sum(r.error is not None for r in judged.rollouts) / 6
    lengths = [sum(len(t.reply.token_ids) for t in r.turns) for r in judged.rollouts]
    assert row["tokens"] == pytest.approx(np.mean(lengths))
    assert judged.tokens == sum(lengths)


def test_processes_average_their_rows():
    rows = [{"step": 3, "reward": 1.0, "failed/a": 0.5}, {"step": 3, "reward": 0.0}]
    assert means(rows) == {"step": 3, "reward": 0.5, "failed/a": 0.25}


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20), st.integers(1, 120), st.integers(1, 5))
def test_packs_hold_every_row_once_within_the_budget(lengths: list[int], budget: int, n: int):
    batches = packs(lengths, budget, n)
    groups = [i // n for batch in batches for i in batch]
    assert sum(a != b for a, b in itertools.pairwise(groups)) == len(set(groups)) - 1, "a group's rows lie together"
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(len(b) == 1 or max(lengths[i] for i in b) * len(b) <= budget for b in batches)


@given(st.integers(1, 9), st.integers(1, 7), st.integers(0, 3))
def test_every_item_is_drawn_once_an_epoch(size: int, count: int, seed: int):
    data = samples(1) * size
    data = [type(s)(s.video, type(s.query)(str(i), "x"), s.truth) for i, s in enumerate(data)]
    drawn = [s.query.id for step in range(size) for s in draw(data, count, step, seed)]
    for epoch in range(count):
        assert sorted(drawn[epoch * size : (epoch + 1) * size]) == sorted(map(str, range(size)))


def test_pad_marks_what_is_real():
    values, mask = pad([torch.tensor([1.0, 2.0]), torch.tensor([3.0])])
    assert values.tolist() == [[1, 2], [3, 0]]
    assert mask.tolist() == [[True, True], [True, False]]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_bad_gradient_moves_nothing(bad: float):
    """An infinite norm is as bad as NaN: clipping would turn it into NaN."""
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([weight], lr=0.1, weight_decay=0.0)
    weight.grad = torch.tensor([1.0, bad])
    assert not math.isfinite(descend([optimizer], [weight], 1.0))
    assert weight.tolist() == [1, 1]
    weight.grad = torch.tensor([3.0, 4.0])
    assert descend([optimizer], [weight], 1.0) == pytest.approx(5)
    assert weight[0] < 1


def test_checkpoints_hold_weights_optimizers_and_randomness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def make() -> tuple[Any, list[Any]]:
        torch.manual_seed(0)
        model = torch.nn.Linear(2, 1)
        return model, [torch.optim.AdamW(model.parameters(), lr=0.1)]

    def step(model: Any, optimizers: list[Any]) -> None:
        model(torch.randn(3, 2)).sum().backward()
        optimizers[0].step()
        optimizers[0].zero_grad()

    path = tmp_path / "checkpoint.pt"
    model, optimizers = make()
    assert load_checkpoint(path, model, optimizers) == 0
    step(model, optimizers)
    save_checkpoint(path, model, optimizers, 1)
    step(model, optimizers)
    other, others = make()
    torch.manual_seed(5)
    assert load_checkpoint(path, other, others) == 1
    step(other, others)
    assert torch.equal(model.weight, other.weight)
    whole = path.read_bytes()
    monkeypatch.setattr(torch, "save", lambda state, file: (file.write(b"x"), (_ for _ in ()).throw(OSError("full"))))
    with pytest.raises(OutputError, match="full; the checkpoint before it is still there"):
        save_checkpoint(path, model, optimizers, 2)
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "case", ["cut", "empty", "a pointer", "a pickle", "a list", "missing", "other", "shape", "parts"]
)
def test_a_damaged_checkpoint_is_one_sentence(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Canary:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (Path("CANARY"),)

    monkeypatch.chdir(tmp_path)
    model, path = torch.nn.Linear(2, 1), tmp_path / "checkpoint.pt"
    optimizers = [torch.optim.AdamW(model.parameters(), lr=0.1)]
    save_checkpoint(path, model, optimizers, 1)
    whole, state = path.read_bytes(), torch.load(path, weights_only=True)
    edits: dict[str, Any] = {
        "pickle": Canary(),
        "list": [1],
        "missing": {**state, "model": {"weight": model.weight}},
        "other": {**state, "model": {**state["model"], "head": model.bias}},
        "shape": {**state, "model": {**state["model"], "weight": torch.zeros(3, 3)}},
        "parts": {**state, "optimizers": []},
    }
    if case in edits:
        torch.save(edits[case], path)
    else:
        path.write_bytes({"cut": whole[:900], "empty": b""}.get(case, b"version https://git-lfs.github.com/spec/v1\n"))
    before = model.weight.clone()
    with pytest.raises(InputError, match=r"checkpoint\.pt") as error:
        load_checkpoint(path, model, optimizers)
    assert "\n" not in str(error.value)
    assert torch.equal(model.weight, before)
    assert not Path("CANARY").exists()


def test_a_log_goes_on_where_the_checkpoint_stands(tmp_path: Path):
    """The line that was being written when the run was stopped is dropped, and so are the steps that were lost."""
    row = '{"step": %d, "loss": %s}\n'
    (tmp_path / "log.jsonl").write_text(row % (0, "0.5") + row % (1, "null") + row % (2, "0.1") + '{"step": 3, "lo')
    with Log(tmp_path, Accelerator(), 2) as log:
        log.add({"step": 2, "loss": math.inf}, None)
    found = read_log(tmp_path / "log.jsonl")
    assert [r["step"] for r in found] == [0, 1, 2]
    assert found[0]["loss"] == 0.5
    assert math.isnan(found[1]["loss"])
    assert ": NaN" not in (tmp_path / "log.jsonl").read_text()
    (warning,) = found[2]["warnings"]
    assert (warning.kind, warning.evidence, warning.rows) == ("not finite", {"columns": "loss"}, (2,))
    assert found[1].keys() == {"step", "loss"}


HEALTHY = {
    "flat_groups": 0.1,
    "cut_off": 0.0,
    "reward/format": 0.9,
    "reward/temporal": 0.5,
    "reward/spatial:soft=True": 0.5,
    "ratio": 1.0,
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"grad_norm": math.nan, "kl": math.inf}, [("not finite", {"columns": "grad_norm kl"})]),
        ({"ratio": 1.2}, [("rollouts and training disagree", {"ratio": 1.2})]),
        ({"flat_groups": 0.95}, [("no signal", {"flat_groups": 0.95})]),
        ({"cut_off": 0.6}, [("replies cut off", {"cut_off": 0.6})]),
        ({"reward/format": 0.4}, [("format low", {"format": 0.4})]),
        ({"reward/temporal": 0.05}, [("keyframes hidden or tiny", {"temporal": 0.05})]),
        ({"reward/spatial:soft=True": 0.05}, [("boxes off target", {"spatial": 0.05})]),
        (
            {"reward/format": 0.99, "reward/temporal": 0.2, "reward/spatial:soft=True": 0.25},
            [("format high, task reward low", {"format": 0.99, "temporal": 0.2, "spatial:soft=True": 0.25})],
        ),
        ({"reward/format": 0.99}, []),  # saturated, but the task reward is not low
    ],
)
def test_failure_signatures_are_named(changes: dict[str, float], expected: list[tuple[str, dict[str, Any]]]):
    log = [{"step": step, **HEALTHY, **changes} for step in range(3, 3 + WINDOW)]
    found = warnings_of(log)
    assert [signature.kind for signature in found] == [kind for kind, _ in expected]
    for signature, (kind, evidence) in zip(found, expected, strict=True):
        last = kind in ("not finite", "rollouts and training disagree")
        assert signature.evidence == (evidence if "columns" in evidence else pytest.approx(evidence))
        assert signature.rows == ((22,) if last else tuple(range(3, 23)))
        assert signature.found
        assert signature.advice


def test_every_kind_of_warning_survives_the_log(tmp_path: Path):
    bad = {"cut_off": 0.6, "flat_groups": 0.95, "reward/format": 0.4, "loss": math.nan, "ratio": 2.0}
    worst = bad | {"reward/temporal": 0.05, "reward/spatial:soft=True": 0.05}
    with Log(tmp_path, Accelerator(), 0) as log:
        rows = [log.add({"step": step, **HEALTHY, **worst}, None) for step in range(WINDOW)]
    assert len(rows[-1]["warnings"]) == 7
    assert [row["warnings"] for row in read_log(tmp_path / "log.jsonl")] == [row["warnings"] for row in rows]


def test_warnings_wait_for_a_window_and_for_no_progress():
    assert warnings_of([]) == []
    assert warnings_of([{"step": 0, **HEALTHY, "flat_groups": 1.0}]) == []
    rising = [{"step": i, **HEALTHY, "reward/format": 0.99, "reward/temporal": 0.15 + i * 0.01} for i in range(WINDOW)]
    assert warnings_of(rising) == []


@given(
    st.builds(
        TrainConfig,
        steps=st.integers(1, 9999),
        lr=st.floats(1e-9, 1),
        lora_rank=st.integers(0, 64),
        bf16=st.booleans(),
        optimizer=st.sampled_from(["adamw", "muon"]),
        log_with=st.sampled_from([None, "wandb"]),
    )
)
def test_settings_round_trip(settings: TrainConfig):
    assert TrainConfig.from_dict(settings.to_dict()) == settings


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"prompts": 8}, "'prompts' is now called 'queries_per_step': rename it"),
        ({"rollouts": 8}, "'rollouts' is now called 'group_size'"),
        ({"tokens": 8}, "'tokens' is now called 'max_tokens_per_forward'"),
        ({"lora": 8}, "'lora' is now called 'lora_rank'"),
        ({"decay": True}, "'decay' is now called 'lr_decay'"),
        ({"learning_rate": 1}, "no setting 'learning_rate'; it has steps"),
        ({"steps": 0}, "steps to be a whole number of 1 or more, got 0"),
        ({"steps": 1.5}, "whole number"),
        ({"steps": True}, "steps to be a whole number of 1 or more, got True"),
        ({"seed": -1}, "seed to be a whole number of 0 or more, got -1"),
        ({"lr": True}, "lr to be a number above 0, got True"),
        ({"lr": 10**400}, "lr to be a number above 0, got 1000"),
        ({"weight_decay": math.inf}, "weight_decay to be a number of 0 or more, got inf"),
        ({"top_p": math.nan}, "top_p to be a number above 0 and at most 1, got nan"),
        ({"lr": "1e-5"}, "lr to be a number above 0, got '1e-5'"),
        ({"lr": math.nan}, "lr to be a number"),
        ({"temperature": 0.0}, "temperature to be a number above 0"),
        ({"top_p": 1.5}, "at most 1"),
        ({"bf16": 1}, "bf16 to be true or false"),
        ({"optimizer": "sgd"}, "one of adamw, muon"),
        ({"reference": "adapter"}, "needs lora"),
        ({"log_with": "paper"}, "one of None, tensorboard"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], match: str):
    for make in (TrainConfig.from_dict, lambda values: TrainConfig(**values)):
        with pytest.raises(InputError, match=match) as error:
            make(settings)
        assert "\n" not in str(error.value)


def test_settings_can_be_given_in_order_and_changed():
    assert TrainConfig(3, 2) == replace(TrainConfig(queries_per_step=2), steps=3)
    with pytest.raises(InputError, match="expected steps to be a whole number of 1 or more, got -3"):
        TrainConfig(-3)
    with pytest.raises(InputError, match="expected group_size to be"):
        replace(TrainConfig(), group_size=0)
    with pytest.raises(InputError, match="settings, got more: give them by name"):
        TrainConfig(*TrainConfig().to_dict().values(), 1)  # pyright: ignore[reportCallIssue]
    with pytest.raises(AttributeError):
        TrainConfig().steps = 3  # pyright: ignore[reportAttributeAccessIssue]


def test_only_what_decides_the_weights_is_fixed():
    def settings(**train: Any) -> dict[str, Any]:
        return {"model": {"policy": "qwen", "tracker": train.pop("tracker", "flow")}, "dataset": "d", "train": train}

    assert (
        changed(
            settings(steps=5, max_tokens_per_forward=1), settings(steps=6, max_tokens_per_forward=2, tracker="sam2")
        )
        == []
    )
    assert changed(settings(steps=5, lr_decay=True), settings(steps=6, lr_decay=True)) == ["train.steps: 5, now 6"]
    assert changed(settings(lr=1.0), settings(lr=2.0)) == ["train.lr: 1.0, now 2.0"]


def test_the_trained_policys_spec_keeps_its_options(tmp_path: Path):
    assert spec_after("qwen", Path("runs/x")) == "qwen:model=runs/x"
    assert spec_after("qwen:model=a,fps=4.0,adapter=b", Path("x")) == "qwen:model=x,fps=4.0"
    assert spec_after({"name": "qwen", "device": "cpu"}, Path("x")) == "qwen:device=cpu,model=x"
    assert spec_after(object.__new__(HFPolicy), Path("a,b=c")) == 'qwen:model="a,b=c"'


def test_schedule_and_optimizers(start: tuple[HFPolicy, Judged]):
    assert [warmup_then_decay(s, 10, 2, decay=False) for s in (0, 1, 2, 9)] == [0.5, 1, 1, 1]
    assert [round(warmup_then_decay(s, 10, 2), 3) for s in (2, 6, 10)] == [1, 0.5, 0.02]
    model = start[0].model
    muon, adam = make_optimizers(model, "muon", 0.1)
    held = [id(p) for o in (muon, adam) for group in o.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters())
    words = model.get_input_embeddings().weight  # pyright: ignore[reportCallIssue]
    assert any(p is words for p in adam.param_groups[0]["params"])
    scale_rates([muon, adam], 0.5)
    scale_rates([muon, adam], 0.1)
    assert muon.param_groups[0]["lr"] == pytest.approx(0.01)
    assert adam.param_groups[0]["lr"] == pytest.approx(0.003)


def test_the_qwen_policy_is_trainable(start: tuple[HFPolicy, Judged]):
    assert isinstance(start[0], TrainablePolicy)


def test_a_checkpoint_holds_the_limit_that_it_was_trained_with(folder: str, tmp_path: Path) -> None:
    model = tiny(folder, sampling=Sampling(1.0, max_new_tokens=7)).resolved()
    keep(model, tmp_path / "taught")
    assert ReVSeg(policy=f"qwen:model={tmp_path / 'taught'}", trust=True).resolved().sampling.max_new_tokens == 7
