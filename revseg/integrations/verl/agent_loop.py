"""revseg's conversation as an agent loop of verl: tokens in, tokens out, with our rounds, positions and rewards."""

# pyright: reportMissingImports=false
# verl has an environment of its own; everything else of this package works without it.

import logging
from dataclasses import replace
from typing import Any

import numpy as np
from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopMetrics, AgentLoopOutput
from verl.utils.profiler import simple_timer

from revseg.integrations.verl.positions import bind_positions
from revseg.integrations.verl.shared import Shared, Start, shared
from revseg.integrations.verl.transcript import MEDIA, Transcript
from revseg.rollout.converse import converse_async
from revseg.types import Message, Reply, RewardBreakdown, Rollout

log = logging.getLogger(__name__)


class OverBudget(Exception):
    """The response has no room for what is to be asked next."""


class ReVSegAgentLoop(AgentLoopBase):
    """One conversation about one row of `revseg rows`, under any plan.

    The settings are those of `ReVSeg`, as JSON in verl's option `+revseg.settings`; what they leave out is what the
    trained weights were taught, else the paper's.

    A group never shrinks. A conversation that the model spoils is data, and the rewards judge it. One for which there
    is no room left ends there (`failed` is "over_budget") and is judged as far as it came. Anything else that goes
    wrong (a video that cannot be read, a prompt longer than `data.max_prompt_length`, a server's error) gets reward 0
    and its reason in `failed`, and nothing is learned from its own tokens.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        settings = self.config.get("revseg") or {}
        self.shared: Shared = shared(settings.get("settings") or "", str(self.config.actor_rollout_ref.model.path))
        bind_positions(self.processor, self.shared.codec)

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> AgentLoopOutput:
        """The conversation and its reward; never raises for what belongs to one row."""
        talk = Talk(self, sampling_params, row)
        try:
            start = await self.shared.start(row["extra_info"])
            rollout = await talk.hold(start)
            judged = await self.loop.run_in_executor(
                self.shared.executor, self.shared.model.score, rollout, start.sample.truth
            )
            return self._output(talk, row, judged, rollout.error or "")
        except Exception as error:  # whatever it is, an exception would shrink the group
            reason = f"{type(error).__name__}: {error}"
            log.error(
                "rollout %s of query %r failed: %s", row.get("session_id", 0), _query(row), reason, exc_info=error
            )
            return self._output(talk, row, None, reason)

    def _output(
        self, talk: "Talk", row: dict[str, Any], judged: RewardBreakdown | None, failed: str
    ) -> AgentLoopOutput:
        """`judged` is None for a rollout that is not to be learned from."""
        kept = talk.transcript
        end = self.shared.codec.end_id
        sampled = kept.sampled if judged is not None else [0] * len(kept.sampled)
        values = dict.fromkeys(self.shared.model.built_rewards.weights, 0.0)  # the same keys in every rollout
        values.update({} if judged is None else judged.values)
        versions = kept.versions or [int(row.get("global_steps", 0))]
        whole = bool(kept.prompt and kept.response)
        return AgentLoopOutput(
            prompt_ids=kept.prompt if whole else [end],
            response_ids=kept.response if whole else [end],
            response_mask=sampled if whole else [0],
            response_logprobs=kept.logprobs if whole else [0.0],
            multi_modal_data=kept.pictures if whole else {},
            mm_processor_kwargs=MEDIA,
            reward_score=0.0 if judged is None else float(judged.total),
            num_turns=kept.turns,
            metrics=AgentLoopMetrics(**talk.seconds),
            extra_fields={
                "reward_extra_info": {**values, "failed": failed},
                "min_global_steps": min(versions),
                "max_global_steps": max(versions),
            },
        )


class Talk:
    """A conversation while it is held, and what was recorded of it."""

    def __init__(self, loop: ReVSegAgentLoop, sampling_params: dict[str, Any], row: dict[str, Any]) -> None:
        self.loop, self.shared, self.sampling = loop, loop.shared, sampling_params
        self.request = f"{_query(row)}/{row.get('global_steps', 0)}/{row.get('session_id', 0)}"
        self.transcript, self.seconds = Transcript(), {}
        self.rollout: Rollout | None = None

    async def hold(self, start: Start) -> Rollout:
        """The rollout, ended by its plan or, with failure "over_budget", by lack of room."""
        model = self.shared.model
        self.rollout = start.rollout
        options = {"max_rounds": model.max_rounds, "limit": model.sampling.limit, "executor": self.shared.executor}
        if start.first is None:
            return start.rollout
        try:
            return await converse_async(start.rollout, self.reply, model.built_plan, first=start.first, **options)
        except OverBudget:
            return replace(self.rollout, failure="over_budget")

    async def reply(self, rollout: Rollout, message: Message) -> Reply:
        """What the server says to the conversation so far and this question."""
        self.rollout, talk, codec = rollout, self.transcript, self.shared.codec
        ids = codec.encode(rollout, message)[-1].token_ids.tolist()
        limits = self.loop.rollout_config
        if not talk.prompt and len(ids) > limits.prompt_length:
            raise ValueError(f"the prompt has {len(ids)} tokens: raise data.max_prompt_length={limits.prompt_length}")
        left = talk.left(len(ids), limits.response_length)
        if left <= 0:  # before its pictures are added: verl counts placeholders against pictures
            raise OverBudget
        talk.ask(ids, message, codec.fps)
        with simple_timer("generate_sequences", self.seconds):
            found = await self.loop.server_manager.generate(
                request_id=self.request,
                prompt_ids=talk.prompt + talk.response,
                sampling_params={**self.sampling, "max_tokens": min(left, self.shared.model.sampling.limit)},
                image_data=talk.images or None,
                video_data=talk.videos or None,
                mm_processor_kwargs=MEDIA,
            )
        steps = (found.extra_fields.get(name) for name in ("min_global_steps", "max_global_steps"))
        talk.versions += [int(step) for step in steps if step is not None]
        talk.hear(list(found.token_ids), found.log_probs or None)
        drawn = np.asarray(found.token_ids, np.int64)
        scores = np.asarray(found.log_probs or [], np.float32)
        ended = "stop" if len(drawn) and int(drawn[-1]) in codec.stops else "length"
        return Reply(codec.texts([drawn])[0], drawn, scores, ended, codec.opened)


def _query(row: dict[str, Any]) -> str:
    return str((row.get("extra_info") or {}).get("query_id", ""))
