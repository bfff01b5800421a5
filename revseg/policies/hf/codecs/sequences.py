"""Sequences of tokens: placeholders that become picture tokens, pieces that are joined, a rollout as one sequence."""

from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import Int64

from revseg.errors import InputError
from revseg.policies.hf.codecs.codec import Block, Encoded, Trajectory
from revseg.policies.hf.mrope import Grid
from revseg.types import Rollout

MORE_PLACEHOLDERS = "a prompt's text holds a picture's placeholder token: remove it from the query"


def left_out(pictures: int) -> str:
    """The message of an InputError about pictures for which the chat template wrote no placeholder."""
    return f"the chat template left out {pictures} of the pictures; use the model's own template"


def expanded(
    ids: Sequence[int], grids: Sequence[Grid], blocks: Sequence[Block], placeholders: Collection[int]
) -> Encoded:
    """A prompt's tokens, in which each placeholder token is repeated as often as its grid has tokens."""
    tokens: list[int] = []
    runs: list[int | Grid] = []
    text, left = 0, list(grids)
    for token in ids:
        if token in placeholders:
            if not left:
                raise InputError(MORE_PLACEHOLDERS)
            grid = left.pop(0)
            tokens += [token] * grid.tokens
            runs += [text, grid]
            text = 0
        else:
            tokens.append(token)
            text += 1
    if left:
        raise InputError(left_out(len(left)))
    return Encoded(np.asarray(tokens, np.int64), (*runs, text), tuple(blocks))


def following(pieces: Sequence[Encoded], prompt: Encoded, end_id: int) -> Encoded:
    """A prompt behind earlier pieces: without the end of the reply before it, if that reply ended by itself."""
    ended = pieces and len(pieces[-1].token_ids) and pieces[-1].token_ids[-1] == end_id
    if not (ended and prompt.token_ids[0] == end_id):
        return prompt
    assert isinstance(prompt.runs[0], int)
    return Encoded(prompt.token_ids[1:], (prompt.runs[0] - 1, *prompt.runs[1:]), prompt.blocks)


def trajectory(rollout: Rollout, pieces: Sequence[Encoded], positions: Int64[np.ndarray, "3 n"]) -> Trajectory:
    """A rollout as one sequence; `pieces` are its prompts and replies in turn."""
    scores = [np.zeros(len(piece.token_ids), np.float32) for piece in pieces]
    for number, turn in enumerate(rollout.turns):
        tokens, known = len(turn.reply.token_ids), len(turn.reply.logprobs)
        if tokens != known:
            raise InputError(f"expected a log-prob for each of the {tokens} tokens of reply {number + 1}, got {known}")
        if tokens:
            scores[2 * number + 1] = turn.reply.logprobs
    ids, marks = [piece.token_ids for piece in pieces], [np.full(len(p.token_ids), p.sampled) for p in pieces]
    blocks = tuple(block for piece in pieces for block in piece.blocks)
    if not pieces:
        return Trajectory(np.zeros(0, np.int64), np.zeros(0, bool), np.zeros(0, np.float32), positions, ())
    return Trajectory(np.concatenate(ids), np.concatenate(marks), np.concatenate(scores), positions, blocks)
