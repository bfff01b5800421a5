"""Conversations held: two pure steps, `ask` and `hear`, and two drivers, in batches and one at a time (Algorithm 1)."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import numpy as np

from revseg import checked
from revseg.types import (
    MAX_NEW_TOKENS,
    Answer,
    Clip,
    Message,
    Parser,
    Plan,
    Policy,
    Reply,
    Rollout,
    Round,
    Sampling,
    Turn,
)

MAX_ROUNDS = 8


def ask(plan: Plan, rollout: Rollout) -> tuple[Round, Message] | None:
    """The next round and its question; None when the conversation is over."""
    round_ = plan(rollout)
    if round_ is None:
        return None
    checked.round_(plan, round_)
    state = rollout if round_.about is None else replace(rollout, about=round_.about)
    message = checked.message(round_.prompt, round_.prompt(state), rollout.query)
    return round_, message if round_.about is None else replace(message, about=round_.about)


def hear(rollout: Rollout, round_: Round, message: Message, reply: Reply, limit: int = MAX_NEW_TOKENS) -> Rollout:
    """The conversation with the reply read: the round's parser is the only judge of it.

    `limit` is the most tokens that the reply could have, for what is said of one that was cut off.
    """
    pictures = shown(message, rollout.clip)
    answer = read(round_.parser, reply, pictures, limit)
    turn = Turn(message, reply, answer, pictures, round_.name, round_.then)
    return replace(rollout, turns=(*rollout.turns, turn))


def read(parser: Parser, reply: Reply, pictures: Clip, limit: int = MAX_NEW_TOKENS) -> Answer:
    """What a parser makes of a reply about these pictures. PartError when it is no Answer, or out of range."""
    return _with_end(checked.answer(parser, parser(reply.whole, pictures), pictures), reply, limit)


def converse(
    starts: Sequence[Rollout], policy: Policy, plan: Plan, *, sampling: Sampling, max_rounds: int = MAX_ROUNDS
) -> list[Rollout]:
    """Holds the conversation with every start, all in one batch, and returns the rollouts in order.

    Each goes on until the plan says that it is over; one that would need more than `max_rounds` fails with
    "too_many_rounds". A start given n times (a group) is asked with one and the same Message, so that policies share
    its work. Raises PartError when the policy does not give one reply a rollout; errors of the parts pass through.
    """
    rollouts = list(starts)
    while rows := _open(rollouts, plan, max_rounds):
        found = policy.reply([rollouts[i] for i, _, _ in rows], [message for *_, message in rows], sampling=sampling)
        for (i, round_, message), reply in zip(rows, checked.replies(policy, found, len(rows)), strict=True):
            rollouts[i] = hear(rollouts[i], round_, message, reply, sampling.limit)
    return rollouts


async def converse_async(
    start: Rollout,
    generate: Callable[[Rollout, Message], Awaitable[Reply]],
    plan: Plan,
    *,
    max_rounds: int = MAX_ROUNDS,
    first: tuple[Round, Message] | None = None,
    limit: int = MAX_NEW_TOKENS,
) -> Rollout:
    """Holds one conversation with whatever answers asynchronously, such as a server or an outer training engine.

    `first` is the first question where it was asked already: rollouts of a group that are given one and the same
    message share its work. `limit` is as for `hear`.
    """
    rollout, asked = start, first
    while (asked := asked or ask(plan, rollout)) is not None:
        if len(rollout.turns) >= max_rounds:
            return replace(rollout, failure="too_many_rounds")
        round_, message = asked
        rollout = hear(rollout, round_, message, await generate(rollout, message), limit)
        asked = None
    return rollout


def shown(message: Message, clip: Clip) -> Clip:
    """The pictures that a reply to `message` speaks of: its last clip, with those before it of the same size.

    `clip` stands in for a message without pictures.
    """
    same = answering(message)
    if len(same) < 2:
        return same[0] if same else clip
    return Clip(np.concatenate([c.frames for c in same]), np.concatenate([c.frame_ids for c in same]))


def answering(message: Message) -> list[Clip]:
    """The clips of a message that a reply to it speaks of; none where it has no pictures."""
    clips = message.clips
    return [part for part in clips if part.size == clips[-1].size]


def _with_end(answer: Answer, reply: Reply, limit: int) -> Answer:
    """The answer, whose detail says too when the reply did not end by itself."""
    if reply.finish_reason in ("", "stop"):
        return answer
    ended = f"the reply ended early: {reply.finish_reason}"
    if reply.cut_off:
        ended = f"the reply was cut off at the limit of {limit} tokens: raise max_new_tokens (--max-new-tokens)"
    return replace(answer, detail=f"{answer.detail}; {ended}" if answer.detail else ended)


def _open(rollouts: list[Rollout], plan: Plan, max_rounds: int) -> list[tuple[int, Round, Message]]:
    """Index, round and question of each conversation that goes on; one that is too long is closed in its place."""
    asked: dict[int, tuple[Round, Message] | None] = {}
    rows = []
    for i, rollout in enumerate(rollouts):
        if rollout.failure is not None:
            continue
        if id(rollout) not in asked:
            asked[id(rollout)] = ask(plan, rollout)
        found = asked[id(rollout)]
        if found is not None and len(rollout.turns) >= max_rounds:
            rollouts[i] = replace(rollout, failure="too_many_rounds")
        elif found is not None:
            rows.append((i, *found))
    return rows
