"""Demonstrations for supervised fine-tuning: conversations in which every reply is right.

A demonstration's keyframe is any frame on which the target is well visible, not the best one, and its boxes are
rounded: which frame is best and where an object ends exactly is left for reinforcement learning to find.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from revseg import checked
from revseg.grounding.canonical import render
from revseg.masks import MaskTrack
from revseg.shapes.excerpts import draw_start, excerpt, without_pictures
from revseg.shapes.scene_captions import TOPICS, caption
from revseg.types import Answer, Clip, Message, Prompt, Query, Reply, Rollout, Sample, Target, Turn


@dataclass(frozen=True)
class Demonstrator:
    """Writes right replies, for two rounds or for one round that asks for keyframe and box together.

    A frame may be the keyframe when the target's box has at least `visible` of its largest area there. `grid` is the
    rounding of coordinates, in pixels of the picture shown. `encode` turns a reply's text into its tokens. Without
    `observe`, the thinking is its last sentence alone, the conclusion.
    """

    prompts: tuple[Prompt, ...]
    encode: Any
    visible: float = 0.5
    grid: int = 2
    observe: bool = True

    def low_quality(self) -> "Demonstrator":
        """The same, of low quality: no evidence in the thinking, any keyframe that shows the target, coarse boxes."""
        return replace(self, visible=0.0, grid=8, observe=False)

    def conversation(
        self,
        sample: Sample,
        clip: Clip,
        rng: np.random.Generator,
        objects: MaskTrack | None = None,
        extra_boxes: int = 0,
    ) -> Rollout:
        """A finished rollout for a sample with truth, then `extra_boxes` box rounds about any of the scene's `objects`.

        `sample.meta` may have "descriptions" (one per target) and "thinking"; else the query's own words are used.
        """
        together = len(self.prompts) == 1
        rollout = Rollout(clip, sample.query)
        prompt = self._prompt(0, rollout)
        turn, targets = self._first_turn(sample, clip, prompt, rng)
        rollout = _add(rollout, turn)
        if together:
            return rollout
        if targets:
            rollout = self._add_box_round(rollout, rollout, targets)
        for target in self._draw_targets(objects, clip, rng, extra_boxes):
            rollout = self._add_box_round(rollout, self._after_naming(clip, sample.query, target), [target])
        return rollout

    def extra_questions(
        self, sample: Sample, clip: Clip, rng: np.random.Generator, questions: Sequence[Sample]
    ) -> list[Rollout]:
        """First rounds alone, one per further question about the same video.

        They share the clip of `sample`, which costs more to encode than a question does.
        """
        prompt = self._prompt(0, Rollout(clip, sample.query))
        rollouts = []
        for question in questions:
            texts = (sample.query.text, question.query.text)
            parts = (part.replace(*texts) if isinstance(part, str) else part for part in prompt.parts)
            turn, _ = self._first_turn(question, clip, replace(prompt, parts=tuple(parts)), rng)
            rollouts.append(Rollout(clip, question.query, (turn,)))
        return rollouts

    def boxes(self, sample: Sample, clip: Clip, rng: np.random.Generator, objects: MaskTrack) -> Rollout:
        """Box rounds alone, about every object that is well visible on one frame; the picture is in the first only."""
        track = objects.at(clip.frame_ids)
        good = np.stack([self._well_visible(track.select([o])) for o in range(track.objects)])
        frame = int(rng.choice(np.flatnonzero(good.any(0))))
        rollout = Rollout(clip, sample.query)
        for o in rng.permutation(np.flatnonzero(good[:, frame])).tolist():
            target = Target(int(clip.frame_ids[frame]), track.names[o], track.select([o]).boxes[frame][None])
            longer = self._add_box_round(rollout, self._after_naming(clip, sample.query, target), [target])
            rollout = longer if not rollout.turns else _add(rollout, without_pictures(longer.turns[-1]))
        return rollout

    def scene(self, clip: Clip, rng: np.random.Generator, objects: MaskTrack, frames: int = 2) -> Rollout:
        """One round about an excerpt of a few frames: a caption and the box of every object in it.

        This teaches what is there before which object a question means, and on few frames before many. Frames keep the
        numbers that they have in the clip, so that frame numbers are learnt on short excerpts already, whose captions
        leave little else to learn about time. The prompt must be one that asks for keyframe and box together.
        """
        whole = objects.at(clip.frame_ids)
        start = draw_start(np.stack([whole.select([o]).visible for o in range(whole.objects)]), frames, rng)
        topic = str(rng.choice(TOPICS))
        topic = f"at {start + rng.integers(min(frames, len(clip)))}" if topic == "at" else topic
        rollout = Rollout(clip, Query("scene", f"every object {topic}"))
        prompt = self._prompt(0, rollout)
        track = objects.at(clip.frame_ids[start : start + frames])
        rows = {o: track.select([o]) for o in range(track.objects)}
        visible = [o for o in rows if self._well_visible(rows[o]).any()]
        targets = [t for o in visible for t in self._targets(rows[o], [track.names[o]], rng)]
        captions = [f"{track.names[o]} {caption(rows[o].boxes, topic, start)}" for o in visible]
        answer, shown = Answer(tuple(targets)), prompt.clips[-1]  # the whole clip, by which frames are numbered
        shortened = excerpt(prompt, slice(start, start + frames))
        return _add(rollout, self._turn(shortened, shown, answer, "keyframe_and_box_json", " . ".join(captions)))

    def _prompt(self, number: int, rollout: Rollout) -> Message:
        return checked.message(self.prompts[number], self.prompts[number](rollout), rollout.query)

    def _first_turn(
        self, sample: Sample, clip: Clip, prompt: Message, rng: np.random.Generator
    ) -> tuple[Turn, list[Target]]:
        """The first round's turn, and its targets with their boxes."""
        assert sample.truth is not None
        together = len(self.prompts) == 1
        names = sample.meta.get("descriptions") or (sample.query.text,)
        targets = self._targets(sample.truth.at(clip.frame_ids), names, rng)
        thinking = str(sample.meta.get("thinking", f"so {sample.query.text}"))
        thinking = thinking if self.observe else thinking.rpartition(" . ")[2]
        answer = Answer(tuple(t if together else Target(t.frame_id, t.description) for t in targets))
        kind = "keyframe_and_box_json" if together else "keyframe_json"
        return self._turn(prompt, prompt.clips[-1] if together else clip, answer, kind, thinking), targets

    def _after_naming(self, clip: Clip, query: Query, target: Target) -> Rollout:
        """A conversation in which the first round has just named the target."""
        answer = Answer((Target(target.frame_id, target.description),))
        return Rollout(clip, query, (Turn(Message("user", (query.text,)), Reply(""), answer, clip, then=1),))

    def _add_box_round(self, rollout: Rollout, state: Rollout, targets: Sequence[Target]) -> Rollout:
        """`rollout` with the box round that follows `state`."""
        prompt = self._prompt(1, state)
        answer = Answer(tuple(Target(boxes=t.boxes) for t in targets))
        return _add(rollout, self._turn(prompt, prompt.clips[-1], answer, "box_json"))

    def _targets(self, truth: MaskTrack, names: Sequence[str], rng: np.random.Generator) -> list[Target]:
        """Each visible object on a keyframe; one keyframe for all if a frame shows all of them well."""
        rows = [truth.select([o]) for o in range(truth.objects)]
        good = [self._well_visible(row) for row in rows]
        visible = [o for o in range(truth.objects) if good[o].any()]
        all_good = np.logical_and.reduce([good[o] for o in visible]) if visible else np.zeros(0, bool)
        shared = int(rng.choice(np.flatnonzero(all_good))) if all_good.any() else None
        targets = []
        for o in visible:
            keyframe = int(rng.choice(np.flatnonzero(good[o]))) if shared is None else shared
            frame_id = int(truth.frame_ids[keyframe])
            targets.append(Target(frame_id, names[min(o, len(names) - 1)], rows[o].boxes[keyframe][None]))
        return targets

    def _well_visible(self, row: MaskTrack) -> np.ndarray:
        """bool[t]: the frames that may be the keyframe of this object."""
        x1, y1, x2, y2 = row.boxes.T
        areas = (x2 - x1) * (y2 - y1)
        return (areas > 0) & (areas >= self.visible * areas.max(initial=0.0))

    def _draw_targets(
        self, objects: MaskTrack | None, clip: Clip, rng: np.random.Generator, count: int
    ) -> list[Target]:
        """`count` of the scene's objects, each once before any comes twice."""
        if objects is None or not count:
            return []
        track = objects.at(clip.frame_ids)
        picks = rng.permutation(np.resize(np.arange(track.objects), max(count, track.objects)))[:count]
        return [t for o in picks for t in self._targets(track.select([int(o)]), [track.names[o]], rng)]

    def _turn(self, prompt: Message, shown: Clip, answer: Answer, kind: str, thinking: str = "") -> Turn:
        text = render(answer, shown, kind=kind, step=self.grid, compact=True, thinking=thinking)
        return Turn(prompt, Reply(text, np.asarray(self.encode(text), np.int64)), answer, shown)


def _add(rollout: Rollout, turn: Turn) -> Rollout:
    return replace(rollout, turns=(*rollout.turns, turn))
