"""Objectives: hand-computed values, the identities that tie the variants together, gradients, masks, micro-batches."""

import functools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parts import built

import revseg
from revseg.errors import InputError, SpecError
from revseg.objectives import ADVANTAGES, AGGREGATIONS, KL, LOSSES, Objective
from revseg.objectives.advantages import (
    dr_grpo,
    gdpo,
    gpg,
    grpo,
    lite_ppo,
    opo,
    pass_at_k,
    reinforce_pp,
    reinforce_pp_baseline,
    rloo,
)
from revseg.objectives.losses import gmpo, gspo

T = functools.partial(torch.tensor, dtype=torch.float64)
STOP_GRADIENT = ("cispo",)  # its gradient is not that of its value, by design
ROWS = [7, 4, 5, 1]


def batch(seed: int = 0, spread: float = 0.3, lengths: list[int] | None = None) -> dict[str, torch.Tensor]:
    """new, old, ref [b, s], advantages [b], mask [b, s], in float64."""
    draw = torch.Generator().manual_seed(seed)
    rows = ROWS if lengths is None else lengths
    shape = (len(rows), max(rows))
    new = -2 * torch.rand(shape, generator=draw, dtype=torch.float64)
    old, ref = (new + spread * torch.randn(shape, generator=draw, dtype=torch.float64) for _ in range(2))
    advantages = torch.randn(len(rows), generator=draw, dtype=torch.float64)
    mask = torch.arange(max(rows)) < torch.tensor(rows)[:, None]
    return {"new": new, "old": old, "ref": ref, "advantages": advantages, "mask": mask}


def gradient(objective: Objective, data: dict[str, torch.Tensor], **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """(loss, its gradient in new)."""
    new = data["new"].clone().requires_grad_()
    loss, _ = objective.loss(new, data["old"], data["ref"], data["advantages"], data["mask"], **kwargs)
    return loss.detach(), torch.autograd.grad(loss, new)[0]


def same(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-12) -> bool:
    return a.shape == b.shape and bool(torch.allclose(a, b, rtol=tolerance, atol=tolerance))


# --- advantages ---------------------------------------------------------------------------------------------------


def test_advantages_by_hand() -> None:
    rewards = T([[1, 2, 3, 6]])  # mean 3, squares 4 + 1 + 0 + 9 = 14, std sqrt(14 / 3)
    centred = T([[-2, -1, 0, 3]])
    assert same(dr_grpo(rewards), centred)
    assert same(rloo(rewards), T([[1 - 11 / 3, 2 - 10 / 3, 0, 6 - 2]]))
    assert same(grpo(rewards, std_eps=0.5), centred / (math.sqrt(14 / 3) + 0.5))
    assert same(pass_at_k(rewards, std_eps=0.0), T([[0, 0, 0, 3 / math.sqrt(14 / 3)]]))
    assert same(opo(rewards, lengths=torch.tensor([[1, 1, 1, 7]])), rewards - 48 / 10)
    assert same(reinforce_pp(rewards, std_eps=0.0), centred / math.sqrt(14 / 3))


def test_advantages_over_the_batch_by_hand() -> None:
    rewards = T([[0, 2], [5, 5]])  # batch: mean 3, squares 9 + 1 + 4 + 4 = 18, std sqrt(6)
    assert same(lite_ppo(rewards, std_eps=0.0), T([[-1, 1], [0, 0]]) / math.sqrt(6))
    assert same(reinforce_pp(rewards, std_eps=0.0), T([[-3, -1], [2, 2]]) / math.sqrt(6))
    assert same(gpg(rewards), T([[-2, 2], [0, 0]]))  # one group of two has a spread: factor 2
    baseline = reinforce_pp_baseline(rewards, std_eps=0.0)
    assert same(baseline, T([[-1, 1], [0, 0]]) / math.sqrt(2 / 3))


def test_whitening_over_tokens_is_that_of_the_tokens_written_out() -> None:
    rewards, lengths = T([[0, 2], [5, 1]]), torch.tensor([[3, 1], [2, 4]])
    tokens = rewards.flatten().repeat_interleave(lengths.flatten())
    expected = (rewards - tokens.mean()) / tokens.std()
    assert same(reinforce_pp(rewards, lengths=lengths, std_eps=0.0), expected)


def test_gdpo_by_hand() -> None:
    # Both prompts: component 0 tells the rollouts apart, component 1 is large and says nothing in the second group.
    rewards = T([[[0, 9], [1, 3]], [[1, 5], [0, 5]]])
    unit = 1 / math.sqrt(2)
    summed = T([[-2 * unit + 0.5 * unit, 2 * unit - 0.5 * unit], [2 * unit, -2 * unit]])
    assert same(gdpo(rewards, weights=T([2, 0.5]), std_eps=0.0), summed / float(summed.std()))
    assert same(gdpo(rewards * T([1, 100]), weights=T([2, 0.5])), gdpo(rewards, weights=T([2, 0.5])), 1e-5)
    assert same(gdpo(rewards[..., 0]), gdpo(rewards[..., :1]))


@pytest.mark.parametrize("name", ADVANTAGES)
def test_equal_rewards_give_exactly_no_advantage(name: str) -> None:
    lengths = {"lengths": torch.tensor([[3, 1, 4], [1, 5, 9]])} if name == "opo" else {}
    for value in (0.0, 0.1, 1 / 3, 1.0, 1e6):
        for dtype in (torch.float32, torch.float64):
            estimator: Any = ADVANTAGES[name]
            assert not estimator(torch.full((2, 3), value, dtype=dtype), **lengths).any()


rewards_ = st.lists(st.lists(st.integers(0, 20), min_size=4, max_size=4), min_size=1, max_size=3)


@given(values=rewards_, shift=st.integers(-3, 3), scale=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_advantages_compare_and_nothing_else(values: list[list[int]], shift: int, scale: int) -> None:
    rewards = T(values)
    estimator: Any
    lengths = torch.arange(1, rewards.numel() + 1).reshape(rewards.shape)
    for name, estimator in ADVANTAGES.items():
        call: Any = functools.partial(estimator, lengths=lengths) if name == "opo" else estimator
        assert same(call(rewards + shift), call(rewards), 1e-9), name
        if name not in ("dr_grpo", "rloo", "opo", "gpg"):  # those divide by a std
            assert same(call(rewards * scale), call(rewards), 1e-4), name
        if name not in ("opo", "pass_at_k"):  # pass_at_k breaks ties by position
            assert same(call(rewards.flip(1)), call(rewards).flip(1), 1e-9), name


@given(values=rewards_)
@settings(max_examples=40, deadline=None)
def test_rloo_is_the_reward_minus_the_mean_of_the_others(values: list[list[int]]) -> None:
    rewards = T(values)
    others = (rewards.sum(1, keepdim=True) - rewards) / 3
    assert same(rloo(rewards), rewards - others, 1e-9)
    assert same(rloo(rewards), 4 / 3 * dr_grpo(rewards))


def test_two_rollouts_give_one_over_root_two() -> None:
    assert same(grpo(T([[0.2, 0.9], [5, 1]]), std_eps=0.0), T([[-1, 1], [1, -1]]) / math.sqrt(2))


def test_rewards_of_a_wrong_shape_are_refused() -> None:
    with pytest.raises(InputError, match=r"n at least 2, got \[3, 1\]"):
        grpo(torch.zeros(3, 1))
    with pytest.raises(InputError, match=r"\[groups, n\]"):
        Objective().advantages(torch.zeros(3, 2, 2))
    with pytest.raises(InputError, match="components"):
        gdpo(torch.zeros(4))
    with pytest.raises(InputError, match="one weight per component, got 3 for 2"):
        gdpo(torch.zeros(3, 2, 2), weights=torch.ones(3))
    with pytest.raises(InputError, match="lengths"):
        Objective(advantage="opo").advantages(torch.zeros(3, 2))


# --- policy losses ------------------------------------------------------------------------------------------------


def per_token(name: str, rho: float, advantage: float, **options: Any) -> tuple[float, bool]:
    new, old = T([[math.log(rho) - 1]]), T([[-1.0]])
    values, clipped = LOSSES[name](new, old, T([[advantage]]), torch.ones(1, 1, dtype=torch.bool), **options)
    return values.item(), bool(clipped.item())


@pytest.mark.parametrize(
    ("name", "options", "rho", "advantage", "expected", "clipped"),
    [
        ("ppo_clip", {}, 1.5, 1, -1.2, True),
        ("ppo_clip", {"clip_high": 0.28}, 1.5, 1, -1.28, True),
        ("ppo_clip", {}, 0.5, 1, -0.5, False),
        ("ppo_clip", {}, 1.5, -1, 1.5, False),
        ("ppo_clip", {}, 0.5, -1, 0.8, True),
        ("ppo_clip", {"dual_clip": 3.0}, 5, -2, 6, True),
        ("ppo_clip", {"dual_clip": 3.0}, 2, -2, 4, False),
        ("ppo_clip", {"dual_clip": 3.0}, 5, 2, -2.4, True),
        ("ppo_clip", {"delta": 4.0}, 5, -2, 8, False),
        ("ppo_clip", {"delta": 4.0}, 3, -2, 6, False),
        ("gspo", {}, 1.5, 1, -1.0004, True),
        ("gspo", {}, 0.5, -1, 0.9997, True),
        ("gmpo", {}, 3, 1, -math.exp(0.4), True),
        ("gmpo", {}, 3, -1, 3, False),
        ("gmpo", {}, 0.2, -1, math.exp(-0.4), True),
        ("cispo", {}, 1.5, 2, -1.5 * 2 * (math.log(1.5) - 1), False),
        ("cispo", {}, 9, 2, -5 * 2 * (math.log(9) - 1), False),
        ("cispo", {"clip_low": 0.2}, 0.5, 2, -0.8 * 2 * (math.log(0.5) - 1), False),
        ("sapo", {}, 1, 1, -2, False),
        ("sapo", {}, 2, 1, -4 / (1 + math.exp(-1)), False),
        ("sapo", {}, 2, -1, 4 / 1.05 / (1 + math.exp(-1.05)), False),
        ("dro", {"dro_beta": 0.5}, 2, 3, -(3 * (math.log(2) - 1) - 0.25 * math.log(2) ** 2), False),
        ("reinforce", {}, 2, 3, -3 * (math.log(2) - 1), False),
    ],
)
def test_losses_by_hand(
    name: str, options: dict[str, float], rho: float, advantage: float, expected: float, clipped: bool
) -> None:
    assert per_token(name, rho, advantage, **options) == (pytest.approx(expected), clipped)


def test_sequence_losses_take_the_geometric_mean_over_unmasked_tokens() -> None:
    log_rho = T([[0.2, -0.1, 0.2, 9.0]])
    mask = torch.tensor([[True, True, True, False]])
    values, _ = gspo(log_rho, torch.zeros_like(log_rho), T([[-1]]), mask)
    assert values[0, 0].item() == pytest.approx(math.exp(0.1))
    values, _ = gmpo(log_rho, torch.zeros_like(log_rho), T([[1]]), mask, clip_high=0.1)
    assert values[0, 0].item() == pytest.approx(-math.exp((0.1 - 0.1 + 0.1) / 3))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_on_policy_every_loss_has_the_gradient_of_reinforce(name: str, aggregation: str) -> None:
    data = batch()
    data["old"] = data["new"].clone()
    _, expected = gradient(Objective(policy_loss="reinforce", beta=0, aggregation=aggregation), data)
    _, found = gradient(Objective(policy_loss=name, beta=0, aggregation=aggregation), data)
    assert expected.any()
    # A sequence's ratio spreads its gradient over its tokens: equal where, and as, REINFORCE weighs them alike.
    assert same(found, expected)


@pytest.mark.parametrize("name", sorted({*LOSSES} - {*STOP_GRADIENT}))
@pytest.mark.parametrize("kl", ["k1", "k2", "k3", "abs"])
def test_gradients_against_finite_differences(name: str, kl: str) -> None:
    data = batch(1)
    objective = Objective(policy_loss=name, kl=kl, beta=0.3, clip_low=0.3, clip_high=0.3)

    def loss(new: torch.Tensor) -> torch.Tensor:
        return objective.loss(new, data["old"], data["ref"], data["advantages"], data["mask"])[0]

    assert torch.autograd.gradcheck(loss, data["new"].clone().requires_grad_())


def test_cispo_keeps_the_gradient_of_clipped_tokens() -> None:
    data = batch(2, spread=2.0)
    rho = (data["new"] - data["old"]).exp()
    assert (rho[data["mask"]] > 5).any()
    _, found = gradient(Objective(policy_loss="cispo", beta=0, aggregation="token_sum"), data)
    assert same(found, -rho.clamp(0, 5) * data["advantages"][:, None] * data["mask"])


def test_a_clipped_token_has_no_gradient_and_is_counted() -> None:
    data = batch(3, spread=1.0)
    _, found = gradient(Objective(beta=0), data)
    rho, positive = (data["new"] - data["old"]).exp(), data["advantages"][:, None] > 0
    outside = ((rho > 1.2) & positive | (rho < 0.8) & ~positive) & data["mask"]
    assert outside.any()
    assert torch.equal(found == 0, outside | ~data["mask"])
    figures = Objective(beta=0).loss(*data.values())[1]
    assert figures["clip_fraction"] == pytest.approx((outside.sum() / data["mask"].sum()).item())


# --- KL -----------------------------------------------------------------------------------------------------------


def test_kl_by_hand() -> None:
    new, ref = T([[-1.0]]), T([[-1.5]])  # d = 0.5
    values = {name: estimate(new, ref).item() for name, estimate in KL.items()}
    k3 = math.exp(-0.5) + 0.5 - 1
    assert values == pytest.approx({"k1": 0.5, "k2": 0.125, "k3": k3, "abs": 0.5, "k1+": 0.5, "k3+": k3})
    assert KL["k1"](ref, new).item() == -0.5


@given(d=st.floats(-30, 30))
@settings(max_examples=60, deadline=None)
def test_k3_is_never_negative_and_0_only_where_both_agree(d: float) -> None:
    value = KL["k3"](T([[d]]), T([[0.0]])).item()
    assert value >= 0
    if abs(d) > 1e-6:
        assert value > 0
    assert KL["k3"](T([[d]]), T([[d]])).item() == 0


def test_k1_plus_and_k3_plus_have_the_gradient_of_k2() -> None:
    data = batch(4)

    def slope(name: str) -> torch.Tensor:
        new = data["new"].clone().requires_grad_()
        return torch.autograd.grad(KL[name](new, data["ref"]).sum(), new)[0]

    assert same(slope("k1+"), slope("k2"))
    assert same(slope("k3+"), slope("k2"))
    assert not same(slope("k3"), slope("k2"), 1e-3)


def test_expected_values_and_gradients_over_a_whole_distribution() -> None:
    draw = torch.Generator().manual_seed(0)
    logits, reference = (torch.randn(7, generator=draw, dtype=torch.float64) for _ in range(2))
    logits.requires_grad_()
    new, ref = logits.log_softmax(0), reference.log_softmax(0)
    kl = (new.exp() * (new - ref)).sum()
    (true_slope,) = torch.autograd.grad(kl, logits, retain_graph=True)

    def expected(name: str) -> tuple[torch.Tensor, torch.Tensor]:
        mean = (new.exp().detach() * KL[name](new, ref)).sum()  # as sampled: the draw itself carries no gradient
        return mean.detach(), torch.autograd.grad(mean, logits, retain_graph=True)[0]

    for name in ("k1", "k3", "k1+", "k3+"):
        assert same(expected(name)[0], kl.detach()), name
    for name in ("k2", "k1+", "k3+"):
        assert same(expected(name)[1], true_slope), name
    assert not expected("k1")[1].abs().max() > 1e-12


def test_kl_in_the_loss_is_beta_times_its_mean() -> None:
    data = batch(5)
    data["advantages"] = torch.zeros(4, dtype=torch.float64)
    loss, figures = Objective(kl="k2", beta=0.25, aggregation="token_mean").loss(*data.values())
    mean = ((data["new"] - data["ref"]).square() / 2)[data["mask"]].mean().item()
    assert (loss.item(), figures["kl"]) == (pytest.approx(mean / 4), pytest.approx(mean))
    rho = (data["new"] - data["old"]).exp()
    weighted = (rho * KL["k3"](data["new"], data["ref"]))[data["mask"]].mean().item()
    loss, _ = Objective(beta=0.25, kl_unbiased=True, aggregation="token_mean").loss(*data.values())
    assert loss.item() == pytest.approx(weighted / 4)


def test_kl_in_the_reward() -> None:
    data = batch(6)
    objective = built("objective", "rloo:beta=0.5")
    expected = [0.5 * (old - ref)[:n].sum() for old, ref, n in zip(data["old"], data["ref"], ROWS, strict=True)]
    data["ref"][~data["mask"]] = math.nan
    assert objective.kl_in_reward
    assert same(objective.kl_penalty(data["old"], data["ref"], data["mask"]), torch.stack(expected))
    loss, figures = objective.loss(data["new"], data["old"], None, data["advantages"], data["mask"])
    assert "kl" not in figures
    assert loss.item() == pytest.approx(figures["policy_loss"])
    assert not Objective().kl_in_reward
    assert not built("objective", "rloo:beta=0").kl_in_reward


# --- aggregation, masks, micro-batches ----------------------------------------------------------------------------


def test_aggregations_by_hand() -> None:
    values = T([[1, 2, 3], [4, 9, 9], [9, 9, 9]])
    mask = torch.tensor([[1, 1, 1], [1, 0, 0], [0, 0, 0]], dtype=torch.bool)
    found = {name: float(a(values, mask, max_length=4)) for name, a in AGGREGATIONS.items()}
    assert found == pytest.approx(
        {
            "token_mean": 10 / 4,
            "token_sum": 10,
            "seq_mean_token_mean": (2 + 4) / 2,
            "seq_mean_token_sum": (6 + 4) / 2,
            "seq_mean_token_sum_norm": (6 + 4) / 4 / 2,
        }
    )


def test_with_equal_lengths_three_aggregations_agree() -> None:
    data = batch(7, lengths=[5, 5, 5])
    losses = [
        gradient(Objective(aggregation=name, max_length=5), data)
        for name in ("token_mean", "seq_mean_token_mean", "seq_mean_token_sum_norm")
    ]
    for loss, slope in losses[1:]:
        assert same(loss, losses[0][0])
        assert same(slope, losses[0][1])


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("policy_loss", ["ppo_clip", "gspo"])
def test_micro_batches_add_up_to_the_batch(aggregation: str, policy_loss: str) -> None:
    data = batch(8, lengths=[7, 4, 5, 1, 2])
    objective = Objective(aggregation=aggregation, policy_loss=policy_loss, beta=0.1)
    loss, slope = gradient(objective, data)
    count = objective.count(data["mask"])
    parts = [
        gradient(objective, {name: tensor[rows] for name, tensor in data.items()}, count=count)
        for rows in (slice(0, 1), slice(1, 4), slice(4, 5))
    ]
    assert same(sum((part[0] for part in parts), T(0)), loss)
    assert same(torch.cat([part[1] for part in parts]), slope)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_what_stands_on_masked_places_changes_nothing(name: str, aggregation: str) -> None:
    data = batch(9)
    objective = Objective(policy_loss=name, aggregation=aggregation, beta=0.1)
    loss, slope = gradient(objective, data)
    # Padding of any width and content, and a row without any token.
    wide = {k: torch.nn.functional.pad(data[k], (0, 3, 0, 1), value=math.nan) for k in ("new", "old", "ref")}
    mask = torch.nn.functional.pad(data["mask"], (0, 3, 0, 1), value=False)
    for tensor, filler in zip(wide.values(), (math.nan, math.inf, -1e30), strict=True):
        tensor[~mask] = filler
    advantages = torch.cat([data["advantages"], T([3.0])])
    other, other_slope = gradient(objective, {**wide, "advantages": advantages, "mask": mask})
    assert same(other, loss)
    assert same(other_slope[:4, :7], slope)
    assert not other_slope[~mask].any()


def test_an_empty_batch_gives_a_loss_of_0() -> None:
    data = batch(10)
    data["mask"] = torch.zeros_like(data["mask"])
    for name in AGGREGATIONS:
        loss, slope = gradient(Objective(aggregation=name), data)
        assert loss == 0
        assert not slope.any()


def test_half_precision_is_summed_in_float32() -> None:
    data = {name: t.bfloat16() if t.is_floating_point() else t for name, t in batch(11).items()}
    loss, _ = Objective().loss(*data.values())
    assert loss.dtype == torch.float32


# --- the named objectives, and swapping ---------------------------------------------------------------------------


def test_the_paper_is_the_default() -> None:
    data = batch(12)
    data["old"] = data["new"].clone()
    loss, _ = revseg.build("objective", "grpo").loss(*data.values())
    kl = KL["k3"](data["new"], data["ref"])
    rows = [
        (-data["advantages"][i] + 1e-3 * kl[i, :n]).mean() for i, n in enumerate(ROWS)
    ]  # the mean advantage minus beta KL, Eq. 10
    assert loss.item() == pytest.approx(torch.stack(rows).mean().item())
    assert vars(revseg.build("objective", "grpo")) == vars(Objective())


def test_names_and_what_each_is_made_of() -> None:
    names = ["cispo", "dapo", "dr_grpo", "gdpo", "gpg", "grpo", "gspo", "reinforce_pp", "rloo"]
    assert {*names} <= {*revseg.names("objective")}
    assert built("objective", "gdpo").weigh_components
    assert not built("objective", "grpo").weigh_components
    assert built("objective", "grpo:advantage=gdpo").weigh_components
    dapo = built("objective", "dapo")
    assert (dapo.clip_low, dapo.clip_high, dapo.beta, dapo.aggregation) == (0.2, 0.28, 0, "token_mean")
    assert built("objective", "gspo").clip_high is None  # the loss's own 4e-4


@pytest.mark.parametrize("spec", ["grpo:kl=k2,aggregation=token_mean", "grpo:kl=k3+", "rloo:policy_loss=ppo_clip"])
def test_each_piece_swaps_on_its_own(spec: str) -> None:
    objective = revseg.build("objective", spec)
    data = batch(13)
    loss, figures = objective.loss(*data.values())
    assert loss.isfinite()
    assert all(isinstance(value, float) for value in figures.values())


def test_options_reach_the_pieces() -> None:
    data = batch(14, spread=1.0)
    data["advantages"] = T([1, -1, -1, 1])
    assert not same(gradient(Objective(beta=0), data)[0], gradient(Objective(beta=0, clip_high=0.5), data)[0])
    assert not same(gradient(Objective(beta=0), data)[0], gradient(Objective(beta=0, dual_clip=1.3), data)[0])
    rewards = T([[1, 2, 4]])
    assert same(Objective(std_eps=0.5).advantages(rewards), grpo(rewards, std_eps=0.5))
    lengths = torch.tensor([[1, 2, 3]])
    assert same(Objective(advantage="opo").advantages(rewards, lengths=lengths), opo(rewards, lengths=lengths))
    parts, weights = torch.rand(2, 3, 2, dtype=torch.float64), T([1, 3])
    assert same(Objective(advantage="gdpo").advantages(parts, weights=weights), gdpo(parts, weights=weights))


def test_a_piece_may_be_a_function() -> None:
    def ranks(rewards: torch.Tensor, *, std_eps: float = 1.0) -> torch.Tensor:
        return rewards.argsort(1).argsort(1).to(rewards.dtype) * std_eps

    mine = Objective(advantage=ranks, policy_loss=functools.partial(LOSSES["sapo"], tau_positive=2.0), std_eps=0.5)
    assert same(mine.advantages(T([[3, 1, 2]])), T([[1, 0, 0.5]]))
    data = batch(15)
    assert not same(gradient(mine, data)[0], gradient(Objective(policy_loss="sapo"), data)[0], 1e-6)


def test_dynamic_sampling_and_overlong_filter() -> None:
    rewards = T([[1, 1], [1, 2]])
    assert Objective().keep_groups(rewards).tolist() == [True, True]
    picky = Objective(dynamic_sampling=True, overlong_filter=True)
    assert picky.keep_groups(rewards).tolist() == [False, True]
    assert picky.keep_groups(T([[[1, 0], [1, 1]], [[1, 1], [1, 1]]])).tolist() == [True, False]
    mask, cut = torch.ones(2, 3, dtype=torch.bool), torch.tensor([True, False])
    assert picky.mask_truncated(mask, cut).tolist() == [[False] * 3, [True] * 3]
    assert Objective().mask_truncated(mask, cut).all()


def test_bad_input_is_named() -> None:
    for options, message in [
        ({"advantage": "grop"}, "unknown advantage 'grop': expected one of grpo"),
        ({"kl": "k4"}, "unknown kl 'k4'"),
        ({"aggregation": "mean"}, "unknown aggregation"),
        ({"kl_place": "sky"}, "expected 'loss' or 'reward'"),
        ({"beta": -1.0}, "beta >= 0"),
        ({"beta": math.nan}, "beta >= 0"),
        ({"advantage": "gdpo", "kl_place": "reward"}, "not defined"),
    ]:
        with pytest.raises(SpecError, match=message):
            Objective(**options)
    data = batch(16)
    with pytest.raises(InputError, match=r"beta=0\.001 needs the reference"):
        Objective().loss(data["new"], data["old"], None, data["advantages"], data["mask"])
    with pytest.raises(InputError, match=r"expected old of new's shape \[4, 7\], got \[4, 6\]"):
        Objective().loss(data["new"], data["old"][:, 1:], None, data["advantages"], data["mask"])
    with pytest.raises(InputError, match=r"advantages \[b\]"):
        Objective().loss(data["new"], data["old"], data["ref"], data["advantages"][1:], data["mask"])


# --- TRL, an independent implementation (recorded by record_trl.py) -------------------------------------------------

TRL = json.loads((Path(__file__).parent / "data" / "trl.json").read_text())


@pytest.mark.parametrize("case", TRL["losses"], ids=lambda case: "-".join(str(v) for v in case["trl"].values()))
def test_losses_and_gradients_equal_trl(case: dict[str, Any]) -> None:
    data = {name: T(values) for name, values in TRL["tensors"].items()}
    loss, slope = gradient(Objective(**{"beta": 0.0, **case["ours"]}), data)
    assert loss.item() == pytest.approx(case["loss"], abs=1e-6)
    assert same(slope, T(case["gradient"]), 1e-6)
    assert slope.any()


@pytest.mark.parametrize("case", TRL["advantages"], ids=lambda case: case["ours"]["advantage"])
def test_advantages_equal_trl(case: dict[str, Any]) -> None:
    objective = Objective(std_eps=1e-4, **case["ours"])  # TRL's epsilon
    parts, weights = T(TRL["rewards"]), T(TRL["weights"])
    rewards = parts if objective.weigh_components else (parts * weights).sum(-1)
    found = objective.advantages(rewards, weights=weights)
    assert same(found, T(case["values"]), 1e-6)
    assert found.any()


# --- one update a batch: every ratio is 1 ---------------------------------------------------------------------------

NINE = ("grpo", "dr_grpo", "rloo", "reinforce_pp", "gdpo", "dapo", "gspo", "cispo", "gpg")


def step_gradient(name: str, lengths: list[int], flat: bool = False, moved: float = 0.0) -> torch.Tensor:
    """The gradient of a named objective on three groups of four rollouts, as the trainer asks for it: the policy that
    sampled is the one that is trained, and `moved` from its reference."""
    objective: Any = revseg.build("objective", name)
    data = batch(5, spread=0.0, lengths=lengths)
    data["ref"] = data["new"] + moved * torch.randn(data["new"].shape, generator=torch.Generator().manual_seed(1))
    parts = torch.rand((3, 4, 2), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    parts[0] = parts[0, :1] if flat else parts[0]
    rewards = parts if objective.weigh_components else parts.sum(2)
    if objective.kl_in_reward:
        rewards = rewards - objective.kl_penalty(data["new"], data["ref"], data["mask"]).reshape(3, 4)
    data["advantages"] = objective.advantages(rewards, lengths=torch.tensor(lengths).reshape(3, 4)).flatten()
    data["mask"] = data["mask"] & objective.keep_groups(rewards).repeat_interleave(4)[:, None]
    return gradient(objective, data)[1]


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a * b).sum() / (a.norm() * b.norm()))


def test_which_of_the_nine_are_one_and_the_same_with_one_update_a_batch() -> None:
    """What docs/how-to/custom_objective.md says, and no more: two pairs, three that differ in length, two others."""
    lengths = [7, 4, 5, 1, 3, 6, 2, 8, 5, 5, 9, 2]
    found = {name: step_gradient(name, lengths) for name in NINE}
    equal = {("grpo", "gspo"), ("dapo", "cispo")}
    parallel = {*equal, ("dr_grpo", "rloo"), ("dr_grpo", "gpg"), ("rloo", "gpg")}
    for i, a in enumerate(NINE):
        for b in NINE[i + 1 :]:
            assert same(found[a], found[b], 1e-9) == ((a, b) in equal), (a, b)
            assert (cosine(found[a], found[b]) > 1 - 1e-9) == ((a, b) in parallel), (a, b)
    assert same(found["rloo"], found["dr_grpo"] * 4 / 3 * 1024, 1e-9)
    assert same(found["gpg"] * sum(lengths), found["dr_grpo"] * 12 * 1024, 1e-9)


def test_what_tells_the_pairs_apart_again() -> None:
    lengths = [7, 4, 5, 1, 3, 6, 2, 8, 5, 5, 9, 2]
    # GRPO's KL, once the policy has left its reference; a group without a spread, which DAPO does not count.
    assert not same(step_gradient("grpo", lengths, moved=0.5), step_gradient("gspo", lengths, moved=0.5), 1e-9)
    assert same(step_gradient("grpo:beta=0", lengths, moved=0.5), step_gradient("gspo", lengths, moved=0.5), 1e-9)
    dapo, cispo = (step_gradient(name, lengths, flat=True) for name in ("dapo", "cispo"))
    assert same(dapo, cispo * sum(lengths) / sum(lengths[4:]), 1e-9)
    # Replies of one length: then it does not matter either whether tokens or replies weigh the same.
    for name in ("gspo", "dapo", "cispo"):
        assert same(step_gradient(name, [5] * 12), step_gradient("grpo", [5] * 12), 1e-9)


@pytest.mark.parametrize("options", ["clip_high=0.01", "clip_low=0.01", "delta=1.5", "dual_clip=3"])
def test_no_clip_does_anything_with_one_update_a_batch(options: str) -> None:
    lengths = [7, 4, 5, 1, 3, 6, 2, 8, 5, 5, 9, 2]
    assert same(step_gradient(f"grpo:{options}", lengths), step_gradient("grpo", lengths), 1e-12)
