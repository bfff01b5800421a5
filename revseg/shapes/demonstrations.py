"""Conversations in which every reply is right: what supervised fine-tuning imitates.

The keyframe is a frame where the target is well visible, not the best one, and boxes are rounded: which frame is best
and where an object exactly ends is left for reinforcement learning to find.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool

from revseg import checked
from revseg.grounding.canonical import render
from revseg.masks import MaskTrack
from revseg.shapes.scene_captions import ABOUT, tell
from revseg.types import Answer, Clip, Message, Prompt, Query, Reply, Rollout, Sample, Target, Turn


@dataclass(frozen=True)
class Expert:
    """Writes right answers for the two-round plan, or for one round that asks for keyframe and box together.

    `visible` is the least share of the target's largest box area that a chosen keyframe shows, `grid` the rounding
    of coordinates in pixels of the picture shown, `encode` turns a reply's text into its tokens. With `observe` off the
    thinking is its last sentence alone, the conclusion.
    """

    prompts: tuple[Prompt, ...]
    encode: Any
    visible: float = 0.5
    grid: int = 2
    observe: bool = True

    def hasty(self) -> "Expert":
        """The same expert in a hurry: concludes at once, takes any frame that shows something, boxes roughly."""
        return replace(self, visible=0.0, grid=8, observe=False)

    def _ask(self, number: int, rollout: Rollout) -> Message:
        return checked.message(self.prompts[number], self.prompts[number](rollout), rollout.query)

    def conversation(
        self,
        sample: Sample,
        clip: Clip,
        rng: np.random.Generator,
        others: MaskTrack | None = None,
        extra: int = 0,
    ) -> Rollout:
        """A finished rollout for a sample with truth, then `extra` box rounds for any objects of `others`.

        `sample.meta` may hold "descriptions" (one a target) and "thinking"; without, the query's own words serve.
        """
        boxed = len(self.prompts) == 1
        rollout = Rollout(clip, sample.query)
        prompt = self._ask(0, rollout)
        turn, targets = self._answered(sample, clip, prompt, rng)
        rollout = _with(rollout, turn)
        if boxed:
            return rollout
        if targets:
            rollout = self._box_round(rollout, rollout, targets)
        for target in self._others(others, clip, rng, extra):
            rollout = self._box_round(rollout, self._asked(clip, sample.query, target), [target])
        return rollout

    def asides(self, sample: Sample, clip: Clip, rng: np.random.Generator, others: Sequence[Sample]) -> list[Rollout]:
        """First rounds with `others`, further questions about the same video: a clip costs more than a question."""
        prompt = self._ask(0, Rollout(clip, sample.query))
        rollouts = []
        for aside in others:
            asked = (sample.query.text, aside.query.text)
            parts = (part.replace(*asked) if isinstance(part, str) else part for part in prompt.parts)
            turn, _ = self._answered(aside, clip, replace(prompt, parts=tuple(parts)), rng)
            rollouts.append(Rollout(clip, aside.query, (turn,)))
        return rollouts

    def _answered(
        self, sample: Sample, clip: Clip, prompt: Message, rng: np.random.Generator
    ) -> tuple[Turn, list[Target]]:
        """The first round's turn, and its targets with their boxes."""
        assert sample.truth is not None
        boxed = len(self.prompts) == 1
        names = sample.meta.get("descriptions") or (sample.query.text,)
        targets = self._targets(sample.truth.at(clip.frame_ids), names, rng)
        thinking = str(sample.meta.get("thinking", f"so {sample.query.text}"))
        thinking = thinking if self.observe else thinking.rpartition(" . ")[2]
        answer = Answer(tuple(t if boxed else Target(t.frame_id, t.description) for t in targets))
        kind = "keyframe_and_box_json" if boxed else "keyframe_json"
        return self._turn(prompt, prompt.clips[-1] if boxed else clip, answer, kind, thinking), targets

    def boxes(self, sample: Sample, clip: Clip, rng: np.random.Generator, others: MaskTrack) -> Rollout:
        """Only box rounds, about every object that is well visible on one frame, which is shown once: cheap."""
        track = others.at(clip.frame_ids)
        good = np.stack([self._good(track.select([o])) for o in range(track.objects)])
        frame = int(rng.choice(np.flatnonzero(good.any(0))))
        rollout = Rollout(clip, sample.query)
        for o in rng.permutation(np.flatnonzero(good[:, frame])).tolist():
            target = Target(int(clip.frame_ids[frame]), track.names[o], track.select([o]).boxes[frame][None])
            asked = self._box_round(rollout, self._asked(clip, sample.query, target), [target])
            rollout = asked if not rollout.turns else _with(rollout, _unseen(asked.turns[-1]))
        return rollout

    def scene(self, clip: Clip, rng: np.random.Generator, others: MaskTrack, frames: int = 2) -> Rollout:
        """One round about a few frames in a row: where each object is on one of them, or how it goes on; then its box.

        What is there is learnt here, before what is meant, and on few frames before many. Frames keep the numbers that
        they have in the clip: when they are is then learnt on the fewest, where it is all that can be learnt of time.
        The prompt has to be one that asks for keyframe and box together.
        """
        whole = others.at(clip.frame_ids)
        at = _part(np.stack([whole.select([o]).visible for o in range(whole.objects)]), frames, rng)
        about = str(rng.choice(ABOUT))
        about = f"at {at + rng.integers(min(frames, len(clip)))}" if about == "at" else about
        rollout = Rollout(clip, Query("scene", f"every object {about}"))
        whole_prompt = self._ask(0, rollout)
        prompt = _cut(whole_prompt, slice(at, at + frames))
        track = others.at(clip.frame_ids[at : at + frames])
        rows = {o: track.select([o]) for o in range(track.objects)}
        seen = [o for o in rows if self._good(rows[o]).any()]
        targets = [t for o in seen for t in self._targets(rows[o], [track.names[o]], rng)]
        told = [f"{track.names[o]} {tell(rows[o].boxes, about, at)}" for o in seen]
        answer, numbered = Answer(tuple(targets)), whole_prompt.clips[-1]
        return _with(rollout, self._turn(prompt, numbered, answer, "keyframe_and_box_json", " . ".join(told)))

    def _asked(self, clip: Clip, query: Query, target: Target) -> Rollout:
        """A conversation in which round 1 has just named the target."""
        asked = Answer((Target(target.frame_id, target.description),))
        return Rollout(clip, query, (Turn(Message("user", (query.text,)), Reply(""), asked, clip, then=1),))

    def _box_round(self, rollout: Rollout, state: Rollout, targets: Sequence[Target]) -> Rollout:
        prompt = self._ask(1, state)
        answer = Answer(tuple(Target(boxes=t.boxes) for t in targets))
        return _with(rollout, self._turn(prompt, prompt.clips[-1], answer, "box_json"))

    def _targets(self, truth: MaskTrack, names: Sequence[str], rng: np.random.Generator) -> list[Target]:
        """Each visible object on a keyframe, the same one for all where one shows them all."""
        rows = [truth.select([o]) for o in range(truth.objects)]
        good = [self._good(row) for row in rows]
        seen = [o for o in range(truth.objects) if good[o].any()]
        together = np.logical_and.reduce([good[o] for o in seen]) if seen else np.zeros(0, bool)
        shared = int(rng.choice(np.flatnonzero(together))) if together.any() else None
        targets = []
        for o in seen:
            keyframe = int(rng.choice(np.flatnonzero(good[o]))) if shared is None else shared
            frame_id = int(truth.frame_ids[keyframe])
            targets.append(Target(frame_id, names[min(o, len(names) - 1)], rows[o].boxes[keyframe][None]))
        return targets

    def _good(self, row: MaskTrack) -> np.ndarray:
        x1, y1, x2, y2 = row.boxes.T
        areas = (x2 - x1) * (y2 - y1)
        return (areas > 0) & (areas >= self.visible * areas.max(initial=0.0))

    def _others(self, others: MaskTrack | None, clip: Clip, rng: np.random.Generator, extra: int) -> list[Target]:
        if others is None or not extra:
            return []
        track = others.at(clip.frame_ids)
        picks = rng.permutation(np.resize(np.arange(track.objects), max(extra, track.objects)))[:extra]
        return [t for o in picks for t in self._targets(track.select([int(o)]), [track.names[o]], rng)]

    def _turn(self, prompt: Message, shown: Clip, answer: Answer, kind: str, thinking: str = "") -> Turn:
        text = render(answer, shown, kind=kind, step=self.grid, compact=True, thinking=thinking)
        return Turn(prompt, Reply(text, np.asarray(self.encode(text), np.int64)), answer, shown)


def _part(visible: Bool[np.ndarray, "o t"], frames: int, rng: np.random.Generator) -> int:
    """Where to start a part of so many frames: mostly such that an object comes or goes in it, if any does.

    An even number, so that the pairs of frames which are one patch in time are those of the whole clip.
    """
    last = max(visible.shape[1] - frames, 0)
    changes = np.flatnonzero((visible[:, 1:] != visible[:, :-1]).any(0))
    if not len(changes) or rng.random() < 0.25:
        return int(rng.integers(last + 1)) // 2 * 2
    change = int(rng.choice(changes))
    return int(rng.integers(min(max(change + 2 - frames, 0), last), min(change, last) + 1)) // 2 * 2


def _cut(message: Message, part: slice) -> Message:
    """The message with a part of its clip."""
    return replace(
        message,
        parts=tuple(Clip(p.frames[part], p.frame_ids[part]) if isinstance(p, Clip) else p for p in message.parts),
    )


def _unseen(turn: Turn) -> Turn:
    """The turn without the picture in its prompt."""
    parts = tuple(part for part in turn.prompt.parts if isinstance(part, str))
    return replace(turn, prompt=replace(turn.prompt, parts=parts))


def _with(rollout: Rollout, turn: Turn) -> Rollout:
    return replace(rollout, turns=(*rollout.turns, turn))
