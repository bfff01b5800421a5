"""The rounds of a conversation as the templates show them: what was shown, what the model thought and answered."""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from revseg.colours import RGB, css
from revseg.drawing import CONTEXT
from revseg.report.pictures import Figure, Marks, data_uri
from revseg.types import Rollout, Target, Turn


@dataclass(frozen=True)
class TargetRows:
    """What an answer says of one target, as (name, value) rows."""

    colour: str  # CSS
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class RoundView:
    """One round that took place."""

    number: int  # from 1
    title: str
    lead: str  # what was shown and why
    turn: Turn
    thinking: str
    filmstrip: tuple[Figure, ...]  # the sampled frames; in the first round only
    most: int | None  # the model's own words number the frames 0..most; None where they name no frame
    targets: tuple[TargetRows, ...]
    keyframes: tuple[Figure, ...]  # with the boxes and points of this round


def split_thinking(text: str) -> tuple[str, str]:
    """A reply as (what is inside `<think>`, the rest without its tags)."""
    start, end = text.find("<think>"), text.find("</think>")
    if end < 0:
        thinking, rest = (text[start + 7 :], text[:start]) if start >= 0 else ("", text)
    else:
        thinking = text[start + 7 : end] if 0 <= start < end else text[:end]
        rest = (text[:start] if 0 <= start < end else "") + text[end + 8 :]
    return thinking.strip(), re.sub(r"</?answer>", "", rest).strip()


def round_view(rollout: Rollout, index: int, colours: Sequence[RGB]) -> RoundView:
    """The round at `index` of the conversation. `colours` are those of the objects."""
    turn = rollout.turns[index]
    targets = turn.answer.targets
    placed = any(len(target.boxes) or len(target.points) for target in targets)
    names_frames = any(target.frame_id is not None for target in targets)
    return RoundView(
        number=index + 1,
        title=_title(turn, placed),
        lead=_lead(turn),
        turn=turn,
        thinking=split_thinking(turn.reply.text)[0],
        filmstrip=() if index else _filmstrip(rollout, colours),
        most=len(rollout.clip) - 1 if names_frames and len(rollout.clip) > 1 else None,
        targets=tuple(TargetRows(colour, _rows(target)) for colour, target in _coloured(rollout, targets, colours)),
        keyframes=keyframes(rollout, index, colours) if placed else (),
    )


def keyframes(rollout: Rollout, index: int, colours: Sequence[RGB]) -> tuple[Figure, ...]:
    """The keyframes of the targets up to the round at `index`, with their boxes and points, at the source's shape."""
    marks: dict[int, list[Marks]] = {}
    for colour, target in _coloured(rollout, replace(rollout, turns=rollout.turns[: index + 1]).named, colours):
        if target.frame_id is not None:
            marks.setdefault(target.frame_id, []).append(Marks.of(target, colour))
    return tuple(
        Figure(
            data_uri(rollout.picture(frame).frames[0]), f"frame {frame}", f"frame {frame}", marks=tuple(marks[frame])
        )
        for frame in marks
    )


def missing_rounds(rollout: Rollout) -> list[int]:
    """The numbers of the rounds that did not take place because a reply could not be read."""
    return [] if rollout.error is None else list(range(len(rollout.turns) + 1, rollout.due + 1))


def _title(turn: Turn, placed: bool) -> str:
    if "verdict" in turn.prompt.asks:
        return "Is it right?"
    first = "keyframe" in turn.prompt.asks or any(t.frame_id is not None for t in turn.answer.targets)
    return "When and where" if first and placed else "When" if first else "Where"


def _lead(turn: Turn) -> str:
    shown = turn.prompt.clips
    if not shown:
        return "No picture was shown."
    h, w = shown[-1].size
    count = sum(len(clip) for clip in shown)
    frames = f"{count} frame{'s were' if count > 1 else ' was'} shown at {w}×{h}"
    asks = turn.prompt.asks
    if "verdict" in asks:
        return f"{frames}, with the answer's boxes drawn on {'them' if count > 1 else 'it'}, to check the answer."
    return f"{frames}, {'to place the target there' if asks == ('box',) else 'to choose the one that shows it best'}."


def _coloured(rollout: Rollout, named: Sequence[Target], colours: Sequence[RGB]) -> Iterator[tuple[str, Target]]:
    """Each of these with its CSS colour: a target's own, grey for context."""
    numbers = itertools.count()
    for target in named:
        yield (css(CONTEXT) if target.role == "context" else _colour(rollout, next(numbers), colours)), target


def _colour(rollout: Rollout, index: int, colours: Sequence[RGB]) -> str:
    """The CSS colour of the target at `index`: its object's, since several targets may be one object."""
    known = {(g.frame_id, g.description): g.object_id for g in rollout.groundings}
    objects = [known.get((t.frame_id or 0, t.description), i) for i, t in enumerate(rollout.chosen)]
    return css(colours[(objects[index] if index < len(objects) else index) % len(colours)])


def _filmstrip(rollout: Rollout, colours: Sequence[RGB]) -> tuple[Figure, ...]:
    """The sampled frames at the source's shape, those chosen as keyframes marked."""
    chosen = {t.frame_id: i for i, t in reversed(list(enumerate(rollout.chosen))) if t.frame_id is not None}
    figures = []
    for number, frame in zip(rollout.clip.frame_ids.tolist(), rollout.clip.frames, strict=True):
        colour = _colour(rollout, chosen[number], colours) if number in chosen else None
        caption = f"{number} · key" if number in chosen else f"{number}"
        figures.append(Figure(data_uri(frame, 240), f"frame {number}", caption, colour))
    return tuple(figures)


def _rows(target: Target) -> tuple[tuple[str, str], ...]:
    rows = [] if target.frame_id is None else [("keyframe", f"frame {target.frame_id}")]
    rows += [("description", target.description)] if target.description else []
    rows += [("role", "context, no part of the masks")] if target.role == "context" else []
    rows += [
        ("box", f"{x1:.0f}–{x2:.0f} % of the width, {y1:.0f}–{y2:.0f} % of the height")
        for x1, y1, x2, y2 in target.boxes.astype(float) * 100
    ]
    rows += [
        ("point", f"{x:.0f} % of the width, {y:.0f} % of the height") for x, y in target.points.astype(float) * 100
    ]
    return tuple(rows)
