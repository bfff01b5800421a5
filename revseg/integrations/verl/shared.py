"""What all agent loops of one worker process share: model settings, codec, and the starts of conversations.

verl makes an agent loop for every rollout, so nothing heavy belongs into its constructor. The rollouts of one query run
in one worker at the same time, so that its clip is decoded and its first question encoded once.
"""

import asyncio
import functools
import json
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from revseg.errors import InputError
from revseg.integrations.verl.rows import sample_of
from revseg.pipeline import ReVSeg
from revseg.policies.checkpoints import folder_of
from revseg.policies.hf.codecs.chat import ChatCodec
from revseg.policies.hf.loading import load_codec
from revseg.policies.hf.policy import HFPolicy
from revseg.registry import read_spec, registry
from revseg.rollout.converse import ask
from revseg.types import Message, Rollout, Round, Sample

MOST_BYTES = 1 << 30  # of decoded clips


@dataclass(frozen=True, eq=False)
class Start:
    """A conversation before its first round, which is asked already; None when the plan asks nothing."""

    sample: Sample
    rollout: Rollout
    first: tuple[Round, Message] | None

    @property
    def nbytes(self) -> int:
        """Of the clip, and of the pictures in the first question."""
        asked = () if self.first is None else self.first[1].clips
        return sum(clip.frames.nbytes for clip in (self.rollout.clip, *asked))


@dataclass(frozen=True, eq=False)
class Shared:
    """`model` has all its settings resolved; its policy is never built, since the server has the weights."""

    model: ReVSeg
    codec: ChatCodec
    executor: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(4, "revseg"))
    _starts: "OrderedDict[str, asyncio.Future[Start]]" = field(default_factory=OrderedDict)

    async def start(self, row: Mapping[str, Any]) -> Start:
        """The start of a row's conversation, made once while it is remembered; errors are raised and not kept."""
        key = json.dumps([row.get("index"), row.get("query_id"), row.get("video"), row.get("query")], default=str)
        found = self._starts.get(key)
        if found is None:
            loop = asyncio.get_running_loop()
            found = self._starts[key] = loop.run_in_executor(self.executor, self._make, row)
            found.add_done_callback(lambda made: self._tidy(key, made))
        self._starts.move_to_end(key)
        return await asyncio.shield(found)

    def _make(self, row: Mapping[str, Any]) -> Start:
        sample = sample_of(row)
        rollout = self.model.start(sample)
        first = ask(self.model.built_plan, rollout)
        if first is not None:
            self.codec.prompt(first[1], first=True)
        return Start(sample, rollout, first)

    def _tidy(self, key: str, made: "asyncio.Future[Start]") -> None:
        """Forgets a failure, and the oldest starts while the clips of all take more than `MOST_BYTES`."""
        if made.cancelled() or made.exception() is not None:
            self._starts.pop(key, None)
            return
        ready = {k: f for k, f in self._starts.items() if f.done() and not f.cancelled() and f.exception() is None}
        sizes = {k: f.result().nbytes for k, f in ready.items()}
        total = sum(sizes.values())
        for old, size in sizes.items():
            if total > MOST_BYTES and old != key:
                total -= size
                del self._starts[old]


@functools.lru_cache(maxsize=4)
def shared(settings: str, weights: str) -> Shared:
    """The parts for these settings (JSON, fields of `ReVSeg`; "" for all defaults) and the folder that verl trains.

    Settings left out are those that the weights were taught, else the paper's. InputError for settings or weights that
    cannot be used.
    """
    try:
        given = json.loads(settings or "{}")
    except ValueError as error:
        raise InputError(f"revseg.settings: expected JSON, the fields of ReVSeg, got {settings!r:.200}") from error
    given = {"policy": {"name": "hf", "model": weights}, **given}
    model = ReVSeg.from_dict(given, trust=True).resolved()  # written by the user, as `revseg train`'s file is
    return Shared(model, codec_of(model))


def codec_of(model: ReVSeg) -> ChatCodec:
    """The codec of a model's policy, without weights.

    InputError for another policy than `hf`, and for a codec that lays out pictures in ways verl's processors do not.
    """
    folder = folder_of(model_option(model))
    codec = load_codec(folder, frame_rate(model))
    if not isinstance(codec, ChatCodec):
        raise InputError(f"{type(codec).__name__}: expected a codec that derives from ChatCodec")
    return codec


def model_option(model: ReVSeg) -> str | None:
    """The weights that a model's policy names. InputError for a policy that is not `hf`, or has adapters."""
    name, options = read_spec("policy", model.policy)
    if registry("policy").get(name) is not HFPolicy:
        raise InputError(f"verl trains models of transformers: expected the policy hf, got {name!r}")
    if options.get("adapter") is not None:
        raise InputError("verl trains whole weights: merge the adapter into the model first")
    return options.get("model")


def frame_rate(model: ReVSeg) -> float:
    """The nominal frame rate of clips that a model's policy has been given."""
    return float(read_spec("policy", model.policy)[1].get("fps", 2.0))
