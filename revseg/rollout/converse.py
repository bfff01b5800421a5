"""The conversation (Algorithm 1): two pure steps, `ask` and `hear`, and two drivers, batched and one at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import ParamSpec, TypeVar

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

P = ParamSpec("P")
T = TypeVar("T")


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
    """The conversation with the reply parsed and added as a turn.

    `limit` is the token limit of the reply; it is named in the error detail of a reply that was cut off.
    """
    pictures = shown(message, rollout.clip)
    answer = read(round_.parser, reply, pictures, limit)
    turn = Turn(message, reply, answer, pictures, round_.name, round_.then)
    return replace(rollout, turns=(*rollout.turns, turn))


def read(parser: Parser, reply: Reply, pictures: Clip, limit: int = MAX_NEW_TOKENS) -> Answer:
    """The reply about these pictures, parsed. PartError when the parser gives no Answer or one that is out of range."""
    return _with_end(checked.answer(parser, parser(reply.whole, pictures), pictures), reply, limit)


def converse(
    starts: Sequence[Rollout], policy: Policy, plan: Plan, *, sampling: Sampling, max_rounds: int = MAX_ROUNDS
) -> list[Rollout]:
    """Runs one conversation per start, all in one batch, and returns the rollouts in order.

    Each goes on until the plan gives None; one that needs more than `max_rounds` fails with "too_many_rounds". A start
    that is given n times (a group) is asked with one Message object, by which policies share the work on its prompt.
    PartError when the policy does not give one reply per rollout; errors of the parts pass through.
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
    executor: Executor | None = None,
) -> Rollout:
    """Runs one conversation with anything that replies asynchronously: a server, an outer training engine.

    `first` is the first round with its message, when it has been built already: the rollouts of a group that get the
    same Message object share its work. `limit` is as for `hear`. `executor` runs plan, prompts and parsers; without
    one they run in the event loop, and resizing a clip holds up all other conversations.
    """
    rollout, asked = start, first
    while (asked := asked or await _run(executor, ask, plan, rollout)) is not None:
        if len(rollout.turns) >= max_rounds:
            return replace(rollout, failure="too_many_rounds")
        round_, message = asked
        reply = await generate(rollout, message)
        rollout = await _run(executor, hear, rollout, round_, message, reply, limit)
        asked = None
    return rollout


async def _run(executor: Executor | None, function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """The function's result, from the executor where there is one."""
    if executor is None:
        return function(*arguments, **options)

    def call() -> T:
        try:
            return function(*arguments, **options)
        except StopIteration as error:  # a future cannot hold it: whoever awaits it would wait for ever
            raise RuntimeError("a plan, prompt or parser raised StopIteration") from error

    return await asyncio.get_running_loop().run_in_executor(executor, call)


def shown(message: Message, clip: Clip) -> Clip:
    """The pictures that a reply to `message` refers to: its last clip, and earlier ones of the same size.

    `clip` stands in for a message without pictures.
    """
    same = answering(message)
    if len(same) < 2:
        return same[0] if same else clip
    return Clip(np.concatenate([c.frames for c in same]), np.concatenate([c.frame_ids for c in same]))


def answering(message: Message) -> list[Clip]:
    """The clips of a message that a reply refers to; none if it has no pictures."""
    clips = message.clips
    return [part for part in clips if part.size == clips[-1].size]


def _with_end(answer: Answer, reply: Reply, limit: int) -> Answer:
    """The answer, with a note in its detail if the reply did not end by itself."""
    if reply.finish_reason in ("", "stop"):
        return answer
    ended = f"the reply ended early: {reply.finish_reason}"
    if reply.cut_off:
        ended = f"the reply was cut off at the limit of {limit} tokens: raise max_new_tokens (--max-new-tokens)"
    return replace(answer, detail=f"{answer.detail}; {ended}" if answer.detail else ended)


def _open(rollouts: list[Rollout], plan: Plan, max_rounds: int) -> list[tuple[int, Round, Message]]:
    """(index, round, message) of each conversation that continues; those that are too long are closed in place."""
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
