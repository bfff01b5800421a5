"""The rounds of a conversation as HTML: what was shown, thought and answered."""

import re
from collections.abc import Sequence
from dataclasses import replace
from html import escape

from revseg.colours import RGB, css
from revseg.report.pictures import box_marks, data_uri
from revseg.types import Rollout, Target, Turn


def split_thinking(text: str) -> tuple[str, str]:
    """A reply as (what is inside `<think>`, the rest without its tags)."""
    start, end = text.find("<think>"), text.find("</think>")
    if end < 0:
        thinking, rest = (text[start + 7 :], text[:start]) if start >= 0 else ("", text)
    else:
        thinking = text[start + 7 : end] if 0 <= start < end else text[:end]
        rest = (text[:start] if 0 <= start < end else "") + text[end + 8 :]
    return thinking.strip(), re.sub(r"</?answer>", "", rest).strip()


def given_section(rollout: Rollout, colours: Sequence[RGB]) -> str:
    """What the user named instead of a model: no frame was chosen, nothing was thought."""
    count = len(rollout.targets)
    boxes = "box" if count == 1 else f"{count} boxes"
    return (
        f'<section><div class="head"><h2>Given</h2></div><p class="lead">The {boxes} and where to start from are the '
        f"user's own; no model was asked.</p>{_pictures(rollout, len(rollout.turns) - 1, colours)}</section>"
    )


def round_section(rollout: Rollout, index: int, colours: Sequence[RGB]) -> str:
    """One round that took place: what was shown, thought, answered and drawn. `colours` are the objects'."""
    turn = rollout.turns[index]
    placed = any(len(t.boxes) or len(t.points) for t in turn.answer.targets)
    strip = "" if index else _filmstrip(rollout, colours)
    thinking = split_thinking(turn.reply.text)[0]
    heading, words = ("Thinking", thinking) if turn.answer.error is None else ("What it wrote", turn.reply.text)
    quote = f"<h3>{heading}</h3><blockquote>{escape(words)}</blockquote>" if words else ""
    return (
        f'<section><div class="head"><span class="num">{index + 1}</span><h2>{_title(turn, placed)}</h2></div>'
        f'<p class="lead">{_lead(turn)}</p>{strip}{quote}{_counted(rollout, turn)}<h3>Answer</h3>'
        f"{_answer(rollout, turn, colours)}"
        f"{_pictures(rollout, index, colours) if placed else ''}"
        f"<details><summary>The words as written</summary><h3>Prompt</h3><pre>{escape(turn.prompt.text)}</pre>"
        f"<h3>Reply</h3><pre>{escape(turn.reply.text)}</pre></details></section>"
    )


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


def _counted(rollout: Rollout, turn: Turn) -> str:
    """How the model counts, where its words may name frames: everything else on the page counts the source's."""
    if len(rollout.clip) < 2 or not any(target.frame_id is not None for target in turn.answer.targets):
        return ""
    return f'<p class="lead">Its own words count the frames that it saw, 0 to {len(rollout.clip) - 1}.</p>'


def _objects(rollout: Rollout) -> list[int]:
    """The object of each target: several targets may be one object, on several frames."""
    found = {(g.frame_id, g.description): g.object_id for g in rollout.groundings}
    return [found.get((t.frame_id or 0, t.description), i) for i, t in enumerate(rollout.chosen)]


def _colour(rollout: Rollout, index: int, colours: Sequence[RGB]) -> RGB:
    objects = _objects(rollout)
    return colours[(objects[index] if index < len(objects) else index) % len(colours)]


def _filmstrip(rollout: Rollout, colours: Sequence[RGB]) -> str:
    """The frames that were sampled, at the source's shape, the chosen ones marked."""
    chosen = {t.frame_id: i for i, t in reversed(list(enumerate(rollout.chosen))) if t.frame_id is not None}
    figures = []
    for number, frame in zip(rollout.clip.frame_ids.tolist(), rollout.clip.frames, strict=True):
        mark, note = "", f"{number}"
        if number in chosen:
            shade = css(_colour(rollout, chosen[number], colours))
            mark, note = f' class="chosen" style="--mark:{shade}"', f"{number} · key"
        figures.append(f'<figure{mark}><img src="{data_uri(frame, 240)}" alt="frame {number}">')
        figures.append(f"<figcaption>{note}</figcaption></figure>")
    return f'<h3>What it saw</h3><div class="strip">{"".join(figures)}</div>'


def _answer(rollout: Rollout, turn: Turn, colours: Sequence[RGB]) -> str:
    answer = turn.answer
    if answer.error is not None:
        return f'<div class="fail"><b>{escape(answer.error)}</b> {escape(answer.detail)}</div>'
    note = f"<p>{escape(answer.detail)}</p>" if answer.detail else ""
    if answer.verdict is not None:
        return f"<p>{'Yes.' if answer.verdict else 'No.'}</p>{note}"
    if answer.absent:
        return f"<p>The target is not in the video.</p>{note}"
    shades = [_colour(rollout, i, colours) for i in range(len(answer.targets))]
    return "".join(_target(rollout, t, shade) for t, shade in zip(answer.targets, shades, strict=True)) + note


def _target(rollout: Rollout, target: Target, shade: RGB) -> str:
    rows: list[tuple[str, str]] = []
    if target.frame_id is not None:
        rows.append(("keyframe", f"frame {target.frame_id}"))
    if target.description:
        rows.append(("description", escape(target.description)))
    for x1, y1, x2, y2 in target.boxes.astype(float) * 100:
        rows.append(("box", f"{x1:.0f}–{x2:.0f} % of the width, {y1:.0f}–{y2:.0f} % of the height"))
    rows += [
        ("point", f"{x:.0f} % of the width, {y:.0f} % of the height") for x, y in target.points.astype(float) * 100
    ]
    first = f'<span class="dot" style="background:{css(shade)}"></span>'
    cells = [f"<dt>{first if i == 0 else ''}{name}</dt><dd>{value}</dd>" for i, (name, value) in enumerate(rows)]
    return f"<dl>{''.join(cells)}</dl>"


def _source(rollout: Rollout, keyframe: int) -> str:
    """The number in the source of a frame of the clip; "?" for one that the clip does not have."""
    return str(int(rollout.clip.frame_ids[keyframe])) if 0 <= keyframe < len(rollout.clip) else "?"


def _pictures(rollout: Rollout, index: int, colours: Sequence[RGB]) -> str:
    """The keyframes of the targets so far, at the source's shape, with what this round placed on them."""
    on: dict[int, list[str]] = {}
    for i, target in enumerate(replace(rollout, turns=rollout.turns[: index + 1]).targets):
        if target.frame_id is not None:
            shade = _colour(rollout, i, colours)
            marks = box_marks(target.boxes, target.points, target.point_labels, shade)
            on.setdefault(target.frame_id, []).append(marks)
    figures = [
        f'<figure class="picture"><div class="frame"><img src="{data_uri(rollout.picture(k).frames[0], 640)}"'
        f' alt="frame {k}">{"".join(marks)}</div><figcaption>frame {k}</figcaption></figure>'
        for k, marks in on.items()
    ]
    return f'<h3>On the picture</h3><div class="pictures">{"".join(figures)}</div>'


def not_held(rollout: Rollout) -> str:
    """Which of the rounds that were due did not take place; nothing when all did or the model said "absent"."""
    if rollout.error is None or rollout.due <= len(rollout.turns):
        return ""
    left = [str(n) for n in range(len(rollout.turns) + 1, rollout.due + 1)]
    rounds = f"Round{'s' if len(left) > 1 else ''} {' and '.join(left)}"
    return f'<section><p class="none">{rounds} did not take place: the reply above could not be read.</p></section>'
