"""A policy with replies given in advance, for tests."""

from collections.abc import Callable, Mapping, Sequence

from revseg.errors import InputError, PartError
from revseg.registry import register
from revseg.types import Message, Reply, Rollout, Sampling


@register("policy", "scripted")
class Scripted:
    """Replies given in advance: `replies[n]` in round n of every conversation, or such a list per query id.

    In Python also a function from the conversation so far to the text.
    """

    def __init__(self, replies: Sequence[str] | Mapping[str, Sequence[str]] | Callable[[Rollout], str]) -> None:
        if isinstance(replies, str):
            raise InputError(f"expected a list of replies, one per round, got the text {replies!r}")
        self.replies = replies

    def reply(self, rollouts: Sequence[Rollout], prompts: Sequence[Message], *, sampling: Sampling) -> list[Reply]:
        return [Reply(self._text(rollout)) for rollout in rollouts]

    def _text(self, rollout: Rollout) -> str:
        if callable(self.replies):
            return self.replies(rollout)
        script = self.replies
        if isinstance(script, Mapping):
            if rollout.query.id not in script:
                raise PartError(f"no script for query {rollout.query.id!r}; there are {', '.join(script)}")
            script = script[rollout.query.id]
        number = len(rollout.turns)
        if number >= len(script):
            raise PartError(
                f"no reply for round {number + 1} of query {rollout.query.id!r}; the script has {len(script)}"
            )
        return script[number]
