"""The overlong reward: penalises replies close to the length limit."""

from revseg.masks import MaskTrack
from revseg.registry import register
from revseg.types import Reply, Rollout


@register("reward", "overlong")
def overlong(rollout: Rollout, truth: MaskTrack, *, limit: int = 512, buffer: int = 128) -> float:
    """1 if the longest reply has at most `limit - buffer` tokens, falling linearly to 0 at `limit`.

    DAPO's soft overlong punishment (arXiv 2503.14476, Eq. 13), shifted from [-1, 0] to [0, 1]. `limit` should be the
    length at which generation stops (`Sampling.max_new_tokens`). For policies that report no tokens, words are counted.
    Success does not matter. 0 for a rollout without replies.
    """
    if not rollout.turns:
        return 0.0
    over = max(_length(turn.reply) for turn in rollout.turns) - (limit - buffer)
    return float(min(1.0, max(0.0, 1.0 - over / max(buffer, 1))))


def _length(reply: Reply) -> int:
    return len(reply.token_ids) or len(reply.text.split())
