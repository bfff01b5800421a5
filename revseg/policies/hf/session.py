"""A batch of conversations in the model's key-value cache, from one round to the next.

A row of the cache is `[left pad | prompt | reply | hole | next prompt | reply ...]`: replies end at different lengths,
the difference is masked, and every forward gets its positions explicitly. A first prompt that several rows share is
kept apart from them, once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from revseg.policies.hf.attention import shares_prompts
from revseg.policies.hf.codecs import Encoded
from revseg.policies.hf.generation import decode
from revseg.policies.hf.inputs import base_model, blocks_of, collate, pictures_once
from revseg.policies.hf.kv_cache import cache_option, new_cache, roomy_cache
from revseg.policies.hf.shared_prefix_attention import Common
from revseg.types import Message, Reply, Rollout, Sampling

if TYPE_CHECKING:
    import torch


@dataclass
class Session:
    """The cache of a batch: `mask` bool[b s] marks its real tokens, `starts` int64[b] are the next positions.

    With `common`, cache and mask cover only what comes after the prompts in it.
    """

    cache: Any
    mask: "torch.Tensor"
    starts: "torch.Tensor"
    replies: list[Reply]
    unfed: list[np.ndarray]  # tokens at a row's end that the model has not read yet: none or one
    common: Common | None = None

    def rows(self, index: Sequence[int]) -> "Session":
        """The session of these rows (repeats allowed); this one must not be used any more."""
        import torch

        if list(index) == list(range(len(self.replies))):
            return self
        rows = torch.as_tensor(list(index))  # on the CPU: layers may lie on several devices
        self.cache.reorder_cache(rows)
        common = None if self.common is None else self.common.select(rows)
        return replace(self._of(index), cache=self.cache, mask=self.mask[rows], common=common)

    def shared(self, index: Sequence[int]) -> "Session":
        """As `rows`, for a session that has only prompts: these are kept once, for all rows that repeat them."""
        import torch

        layers = [(layer.keys, layer.values) for layer in self.cache.layers]
        common = Common(layers, self.mask, torch.as_tensor(list(index), device=self.mask.device))
        return replace(self._of(index), cache=roomy_cache(), mask=self.mask[list(index), :0], common=common)

    def _of(self, index: Sequence[int]) -> "Session":
        """This session with the starts, replies and unread tokens of these rows."""
        starts = self.starts[list(index)]
        replies, unfed = [self.replies[i] for i in index], [self.unfed[i] for i in index]
        return replace(self, starts=starts, replies=replies, unfed=unfed)


class Sessions:
    """Answers batches for a policy and keeps the caches of the last round for the next."""

    def __init__(self, policy: Any, batch_size: int, reuse: bool) -> None:
        self.policy = policy
        self.batch_size = batch_size
        self.reuse = reuse and policy.codec.cache == "full"
        self._kept: list[Session] = []

    def forget(self) -> None:
        self._kept = []

    def reply(
        self, rollouts: Sequence[Rollout], prompts: Sequence[Message], uniforms: np.ndarray, sampling: Sampling
    ) -> list[Reply]:
        """Rows whose last reply is in a kept cache continue from it; the others are read from the beginning."""
        import torch

        kept, self._kept = self._kept, []
        out: list[Reply | None] = [None] * len(rollouts)
        with torch.inference_mode():
            for session, places in self._batches(kept, rollouts):
                batch = [rollouts[i] for i in places], [prompts[i] for i in places]
                session, logits = self._resume(session, *batch) if session else self._open(*batch)
                replies = self._decode(session, logits, uniforms[places], sampling)
                for place, reply in zip(places, replies, strict=True):
                    out[place] = reply
        return [reply for reply in out if reply is not None]

    def _batches(self, kept: list[Session], rollouts: Sequence[Rollout]) -> list[tuple[Session | None, list[int]]]:
        places = {id(reply): (s, row) for s, session in enumerate(kept) for row, reply in enumerate(session.replies)}
        found: dict[int, tuple[list[int], list[int]]] = {}
        fresh = []
        for index, rollout in enumerate(rollouts):
            where = places.get(id(rollout.turns[-1].reply)) if rollout.turns else None
            if where is None:
                fresh.append(index)
            else:
                rows, indices = found.setdefault(where[0], ([], []))
                rows.append(where[1])
                indices.append(index)
        batches: list[tuple[Session | None, list[int]]] = [
            (kept[s].rows(rows), indices) for s, (rows, indices) in found.items()
        ]
        size = self.batch_size
        return batches + [(None, fresh[i : i + size]) for i in range(0, len(fresh), size)]

    def _open(self, rollouts: list[Rollout], prompts: list[Message]) -> tuple[Session, "torch.Tensor"]:
        """Read each distinct conversation once, for all rows that repeat it."""
        import torch

        keys = [(id(p), *map(id, r.turns)) for r, p in zip(rollouts, prompts, strict=True)]
        distinct = list(dict.fromkeys(keys))
        firsts = [keys.index(key) for key in distinct]
        pieces = [self.policy.codec.encode(rollouts[i], prompts[i]) for i in firsts]
        device = self.policy.model.device
        nothing = [Reply("")] * len(firsts)
        empty = torch.zeros((len(firsts), 0), dtype=torch.bool, device=device)
        starts = torch.zeros(len(firsts), dtype=torch.int64, device=device)
        session = Session(new_cache(self.policy), empty, starts, nothing, [np.zeros(0, np.int64)] * len(firsts))
        session, logits = self._feed(session, pieces)
        rows = [distinct.index(key) for key in keys]
        grouped = len(distinct) < len(rows) and shares_prompts(self.policy)
        session = session.shared(rows) if grouped else session.rows(rows)
        return session, logits[torch.as_tensor(rows, device=device)]

    def _resume(
        self, session: Session, rollouts: list[Rollout], prompts: list[Message]
    ) -> tuple[Session, "torch.Tensor"]:
        pieces = []
        for rollout, prompt, unfed in zip(rollouts, prompts, session.unfed, strict=True):
            whole = self.policy.codec.encode(rollout, prompt)
            pieces.append([Encoded(unfed, (len(unfed),)), whole[-1]])
        return self._feed(session, pieces)

    def _feed(self, session: Session, pieces: list[list[Encoded]]) -> tuple[Session, "torch.Tensor"]:
        """Run more tokens through the model; float[b v] logits after the last."""
        import torch

        starts = session.starts.tolist()
        blocks = blocks_of(pieces)
        shared = len(set(blocks)) < len(blocks)  # the answers of a group often name the same keyframe
        inputs = collate(self.policy, pieces, starts, distinct=shared)
        if shared:
            inputs = pictures_once(self.policy, pieces, inputs)
        ends = [self.policy.codec.positions(row, start)[1] for row, start in zip(pieces, starts, strict=True)]
        mask = torch.cat([session.mask, inputs.pop("attention_mask")], 1)
        out = self.policy.model(
            **inputs,
            attention_mask=mask,
            use_cache=True,
            logits_to_keep=1,
            **self._options(session),
        )
        starts = torch.as_tensor(ends, device=mask.device)
        return replace(session, mask=mask, starts=starts), self._allowed(out.logits[:, -1])

    def _decode(
        self, session: Session, logits: "torch.Tensor", uniforms: np.ndarray, sampling: Sampling
    ) -> list[Reply]:
        import torch

        policy, before = self.policy, session.mask.shape[1]
        mask, starts, options = session.mask, session.starts, self._options(session)

        def step(token: "torch.Tensor") -> "torch.Tensor":
            nonlocal mask, starts
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
            out = policy.model(
                input_ids=token[:, None],
                attention_mask=mask,
                position_ids=starts.expand(4, -1)[..., None],
                use_cache=True,
                **options,
            )
            starts = starts + 1
            return self._allowed(out.logits[:, -1])

        tokens, scores = decode(step, logits, uniforms, stop_ids=policy.stops, sampling=sampling)
        texts = policy.codec.texts(tokens)
        ended = ["stop" if len(t) and int(t[-1]) in policy.stops else "length" for t in tokens]
        opened = policy.codec.opened
        replies = [Reply(*row, opened) for row in zip(texts, tokens, scores, ended, strict=True)]
        if self.reuse:
            lengths = torch.as_tensor([len(t) for t in tokens], device=mask.device)
            steps = torch.arange(mask.shape[1] - before, device=mask.device)
            mask[:, before:] = steps < lengths[:, None]
            fed = lengths.clamp(max=len(steps))
            unfed = [t[int(n) :] for t, n in zip(tokens, fed, strict=True)]
            self._kept.append(replace(session, mask=mask, starts=session.starts + fed, replies=replies, unfed=unfed))
        return replies

    def _options(self, session: Session) -> dict[str, Any]:
        """Arguments of a forward: the cache, which it extends in place, and the common prompts, if any."""
        cache = cache_option(base_model(self.policy.model), session.cache)
        return cache if session.common is None else {**cache, "common": session.common}

    def _allowed(self, logits: "torch.Tensor") -> "torch.Tensor":
        logits[:, self.policy.suppressed] = float("-inf")
        return logits
