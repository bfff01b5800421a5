"""The contract of a policy."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from revseg.registry import build
from revseg.rollout.converse import converse
from revseg.rollout.plans import InOrder
from revseg.testing.running import broken_contracts, expect
from revseg.testing.squares import moving_squares
from revseg.types import NeedsTruth, Plan, Policy, Query, Rollout, Sample, Sampling

ROUNDS = (("keyframe_terse", "keyframe_json"), ("box_terse", "box_json"))


def check_policy(
    policy: Any,
    *,
    plan: Sequence[tuple[Any, Any]] | Plan = ROUNDS,
    frames: int = 4,
    size: tuple[int, int] = (112, 112),
    max_new_tokens: int = 24,
    tolerance: float = 1e-4,
) -> None:
    """Checks that a conversation gets the same replies alone, in a batch, in another order, and when asked again.

    Tried over all rounds of `plan` with different conversations, greedily and at temperature 1. If a conversation is in
    a batch twice, its first copy must get the same replies as alone. `tolerance` is for log-probs; texts and tokens
    must be equal.
    """
    built: Policy = build("policy", policy)
    rounds = plan if callable(plan) else InOrder(plan)
    starts, samples = [], []
    for step in (0, 2, 5):
        scene = moving_squares(frames, size, step=step)
        query = Query(f"step {step}", f"the square that moves by {step}")
        starts.append(Rollout(scene.clip, query, video=scene.video))
        samples.append(Sample(scene.video, query, scene.truth))
    if isinstance(built, NeedsTruth):
        built = built.with_truth(samples)
    for temperature in (0.0, 1.0):
        sampling = Sampling(temperature=temperature, max_new_tokens=max_new_tokens, seed=5)

        def run(batch: list[Rollout], sampling: Sampling = sampling) -> list[Rollout]:
            with broken_contracts():
                done = converse(batch, built, rounds, sampling=sampling)
            expect(len(done) == len(batch), f"{policy!r}: {len(done)} rollouts of {len(batch)}")
            return done

        together, twice = run(starts), run([*starts, starts[0]])
        expect(bool(together[0].turns), f"{policy!r} gave no reply")
        others = {
            "alone": [run([start])[0] for start in starts],
            "in reverse order": run(starts[::-1])[::-1],
            "with one of them twice": twice[:-1],
            "asked again": run(starts),
        }
        for how, rollouts in others.items():
            for a, b in zip(together, rollouts, strict=True):
                _same(policy, a, b, f"{how} (temperature {temperature:g})", tolerance)


def _same(policy: Any, one: Rollout, other: Rollout, how: str, tolerance: float) -> None:
    pairs = zip(one.turns, other.turns, strict=False)
    for number, (a, b) in enumerate(((x.reply, y.reply) for x, y in pairs), 1):
        what = f"{policy!r}, round {number} of {one.query.id!r}: {a.text!r} in a batch, {b.text!r} {how}"
        expect(a.text == b.text and np.array_equal(a.token_ids, b.token_ids), what)
        expect(np.allclose(a.logprobs, b.logprobs, atol=tolerance), f"{what}, with other log-probs")
    expect(len(one.turns) == len(other.turns), f"{policy!r}: {one.query.id!r} has another number of rounds {how}")
