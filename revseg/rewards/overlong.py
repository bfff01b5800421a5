"""The overlong reward: against replies that run into the length limit."""

from revseg.masks import MaskTrack
from revseg.registry import register
from revseg.types import Reply, Rollout


@register("reward", "overlong")
def overlong(rollout: Rollout, truth: MaskTrack, *, limit: int = 512, buffer: int = 128) -> float:
    """1 while every reply is at most `limit - buffer` tokens long, falling in a line to 0 at `limit`.

    DAPO's soft overlong punishment (arXiv 2503.14476, Eq. 13), shifted from [-1, 0] to [0, 1]. The longest reply
    decides, because `limit` is what generation stops at (`Sampling.max_new_tokens`). Replies of policies that report
    no tokens are counted in words. It judges length, not success. 0 for a rollout without replies.
    """
    if not rollout.turns:
        return 0.0
    over = max(_length(turn.reply) for turn in rollout.turns) - (limit - buffer)
    return float(min(1.0, max(0.0, 1.0 - over / max(buffer, 1))))


def _length(reply: Reply) -> int:
    return len(reply.token_ids) or len(reply.text.split())
