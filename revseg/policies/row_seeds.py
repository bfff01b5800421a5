"""Seeds of the rows of a batch: each depends on the row's own content, not on its neighbours."""

import hashlib
from collections import Counter
from collections.abc import Sequence

from revseg.types import Message, Rollout, Sampling


def row_seeds(rollouts: Sequence[Rollout], prompts: Sequence[Message], sampling: Sampling) -> list[int]:
    """A seed of 63 bits per row, from its content and, at a temperature above 0, its position among equal rows.

    So the rows of a group, which are equal, get different seeds.
    """
    seeds, seen = [], Counter[bytes]()
    for rollout, prompt in zip(rollouts, prompts, strict=True):
        digest = hashlib.blake2b(rollout.clip.frame_ids.tobytes(), digest_size=8)
        asked = (turn.prompt.text + "\0" + turn.reply.text for turn in rollout.turns)
        for text in (str(sampling.seed), rollout.query.id, rollout.query.text, *asked, prompt.text):
            digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
        content = digest.digest()
        digest.update(seen[content].to_bytes(8, "little"))
        seen[content] += sampling.temperature > 0
        seeds.append(int.from_bytes(digest.digest(), "little") >> 1)
    return seeds
