"""How many tokens conversations have for a model, by its codec: no weights are read."""

from collections.abc import Mapping, Sequence
from typing import Any

from revseg.policies.checkpoints import folder_of
from revseg.types import Rollout, TokenCounts


def count_tokens(options: Mapping[str, Any], rollouts: Sequence[Rollout]) -> list[TokenCounts]:
    """As `CountsTokens` has it, for a policy with these options. InputError where its processor cannot be loaded."""
    from revseg.policies.hf.loading import load_codec

    rate = {"fps": float(options["fps"])} if "fps" in options else {}
    codec = load_codec(folder_of(options.get("model")), **rate)
    found = []
    for rollout in rollouts:
        pieces = codec.encode(rollout, None)
        pictures = sum(block.grid.tokens for piece in pieces for block in piece.blocks)
        prompts = sum(len(piece.token_ids) for piece in pieces[::2])
        found.append(TokenCounts(pictures, prompts - pictures, sum(len(piece.token_ids) for piece in pieces[1::2])))
    return found
