"""The conversation: every round asks, listens and parses, for a whole batch at a time (Algorithm 1)."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from revseg import checked
from revseg.errors import InputError
from revseg.types import Answer, Clip, Message, Parser, Policy, Prompt, Reply, Rollout, Sampling, Turn


def run(
    starts: Sequence[Rollout],
    policy: Policy,
    rounds: Sequence[tuple[Prompt, Parser]],
    *,
    sampling: Sampling,
) -> list[Rollout]:
    """Holds all rounds with every start and returns the rollouts in order.

    A rollout stops at its first reply that does not parse, or that says "not in the video"; the others go on. A start
    given n times (a group) is asked with one and the same Message. Raises PartError, naming the part, for what
    is no Message, no list of one Reply a rollout or no Answer; errors of the parts themselves pass through.
    """
    if not rounds:
        raise InputError("expected at least one round, a pair (prompt, parser); got none")
    planned = {id(start): replace(start, planned=len(rounds)) for start in starts}
    rollouts = [planned[id(start)] for start in starts]
    for number, (prompt, parser) in enumerate(rounds):
        rows = [i for i, rollout in enumerate(rollouts) if len(rollout.turns) == number and not rollout.done]
        if not rows:
            continue
        asked = {id(rollouts[i]): rollouts[i] for i in rows}
        messages = {key: checked.message(prompt, prompt(rollout), rollout.query) for key, rollout in asked.items()}
        pictures = {key: shown(message, asked[key].clip) for key, message in messages.items()}
        keys = [id(rollouts[i]) for i in rows]
        told = policy.reply([rollouts[i] for i in rows], [messages[key] for key in keys], sampling=sampling)
        for i, key, reply in zip(rows, keys, checked.replies(policy, told, len(rows)), strict=True):
            answer = checked.answer(parser, parser(reply.whole, pictures[key]), len(rollouts[i].clip))
            turn = Turn(messages[key], reply, _with_end(answer, reply, sampling.limit))
            rollouts[i] = replace(rollouts[i], turns=(*rollouts[i].turns, turn))
    return rollouts


def _with_end(answer: Answer, reply: Reply, limit: int) -> Answer:
    """The answer, whose detail says too when the reply did not end by itself."""
    if reply.finish_reason in ("", "stop"):
        return answer
    ended = f"the reply ended early: {reply.finish_reason}"
    if reply.cut_off:
        ended = f"the reply was cut off at the limit of {limit} tokens: raise max_new_tokens (--max-new-tokens)"
    return replace(answer, detail=f"{answer.detail}; {ended}" if answer.detail else ended)


def shown(message: Message, clip: Clip) -> Clip:
    """The pictures that a reply to `message` speaks of: its last clip, with those before it of the same size.

    `clip` stands in for a message without pictures.
    """
    if not message.clips:
        return clip
    same = [part for part in message.clips if part.size == message.clips[-1].size]
    if len(same) == 1:
        return same[0]
    return Clip(np.concatenate([c.frames for c in same]), np.concatenate([c.frame_ids for c in same]))
