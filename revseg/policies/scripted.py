"""A policy that says what it was told to say, for tests."""

from collections.abc import Callable, Mapping, Sequence

from revseg.errors import InputError, PartError
from revseg.registry import register
from revseg.types import Message, Reply, Rollout, Sampling


@register("policy", "scripted")
class Scripted:
    """Replies given beforehand: `replies[n]` in round n for everybody, or a mapping from query id to such a list.

    In code also a function from the conversation so far to the text.
    """

    def __init__(self, replies: Sequence[str] | Mapping[str, Sequence[str]] | Callable[[Rollout], str]) -> None:
        if isinstance(replies, str):
            raise InputError(f"expected a list of replies, one a round, got the text {replies!r}")
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
