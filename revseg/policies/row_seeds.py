"""Where a batch's randomness comes from: each row has a seed of its own, whoever its neighbours are."""

import hashlib
from collections import Counter
from collections.abc import Sequence

from revseg.types import Message, Rollout, Sampling


def row_seeds(rollouts: Sequence[Rollout], prompts: Sequence[Message], sampling: Sampling) -> list[int]:
    """63 bits a row, by its content and, when tokens are drawn, its place among its equals: a group's rows differ."""
    found, met = [], Counter[bytes]()
    for rollout, prompt in zip(rollouts, prompts, strict=True):
        digest = hashlib.blake2b(rollout.clip.frame_ids.tobytes(), digest_size=8)
        asked = (turn.prompt.text + "\0" + turn.reply.text for turn in rollout.turns)
        for text in (str(sampling.seed), rollout.query.id, rollout.query.text, *asked, prompt.text):
            digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
        content = digest.digest()
        digest.update(met[content].to_bytes(8, "little"))
        met[content] += sampling.temperature > 0
        found.append(int.from_bytes(digest.digest(), "little") >> 1)
    return found
