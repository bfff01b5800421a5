"""The rounds of a conversation as HTML: what was shown, thought and answered."""

import re
from html import escape

from revseg.report.pictures import box_marks, colour, data_uri
from revseg.types import Rollout, Target, Turn, merge_targets


def split_thinking(text: str) -> tuple[str, str]:
    """A reply as (what is inside `<think>`, the rest without its tags)."""
    start, end = text.find("<think>"), text.find("</think>")
    if end < 0:
        thinking, rest = (text[start + 7 :], text[:start]) if start >= 0 else ("", text)
    else:
        thinking = text[start + 7 : end] if 0 <= start < end else text[:end]
        rest = (text[:start] if 0 <= start < end else "") + text[end + 8 :]
    return thinking.strip(), re.sub(r"</?answer>", "", rest).strip()


def round_section(rollout: Rollout, index: int) -> str:
    """One round that took place: what was shown, thought, answered and drawn."""
    turn = rollout.turns[index]
    placed = any(len(t.boxes) or len(t.points) for t in turn.answer.targets)
    title = "Where" if index else "When and where" if placed else "When"
    strip = "" if index else _filmstrip(rollout)
    thinking = split_thinking(turn.reply.text)[0]
    heading, words = ("Thinking", thinking) if turn.answer.error is None else ("What it wrote", turn.reply.text)
    quote = f"<h3>{heading}</h3><blockquote>{escape(words)}</blockquote>" if words else ""
    return (
        f'<section><div class="head"><span class="num">{index + 1}</span><h2>{title}</h2></div>'
        f'<p class="lead">{_lead(turn, index)}</p>{strip}{quote}<h3>Answer</h3>{_answer(turn)}'
        f"{_pictures(rollout, index) if placed else ''}"
        f"<details><summary>The words as written</summary><h3>Prompt</h3><pre>{escape(turn.prompt.text)}</pre>"
        f"<h3>Reply</h3><pre>{escape(turn.reply.text)}</pre></details></section>"
    )


def _lead(turn: Turn, index: int) -> str:
    shown = turn.prompt.clips
    if not shown:
        return "No picture was shown."
    h, w = shown[-1].size
    count = sum(len(clip) for clip in shown)
    frames = f"{count} frame{'s were' if count > 1 else ' was'} shown at {w}×{h}"
    return (
        f"{frames}, to place the target there." if index else f"{frames}, to choose the one that shows the target best."
    )


def _filmstrip(rollout: Rollout) -> str:
    """The frames that were sampled, at the source's shape, the chosen ones marked."""
    chosen = {t.keyframe: i for i, t in reversed(list(enumerate(rollout.answer.targets))) if t.keyframe is not None}
    figures = []
    for k, frame in enumerate(rollout.clip.frames):
        mark, note = "", f"{k}"
        if k in chosen:
            mark, note = f' class="chosen" style="--mark:{colour(chosen[k])}"', f"{k} · key"
        figures.append(f'<figure{mark}><img src="{data_uri(frame, 240)}" alt="frame {k}">')
        figures.append(f"<figcaption>{note}</figcaption></figure>")
    return f'<h3>What it saw</h3><div class="strip">{"".join(figures)}</div>'


def _answer(turn: Turn) -> str:
    answer = turn.answer
    if answer.error is not None:
        return f'<div class="fail"><b>{escape(answer.error)}</b> {escape(answer.detail)}</div>'
    note = f"<p>{escape(answer.detail)}</p>" if answer.detail else ""
    if answer.absent:
        return f"<p>The target is not in the video.</p>{note}"
    return "".join(_target(target, i) for i, target in enumerate(answer.targets)) + note


def _target(target: Target, index: int) -> str:
    rows: list[tuple[str, str]] = []
    if target.keyframe is not None:
        rows.append(("keyframe", str(target.keyframe)))
    if target.description:
        rows.append(("description", escape(target.description)))
    for x1, y1, x2, y2 in target.boxes.astype(float) * 100:
        rows.append(("box", f"{x1:.0f}–{x2:.0f} % of the width, {y1:.0f}–{y2:.0f} % of the height"))
    rows += [
        ("point", f"{x:.0f} % of the width, {y:.0f} % of the height") for x, y in target.points.astype(float) * 100
    ]
    first = f'<span class="dot" style="background:{colour(index)}"></span>'
    cells = [f"<dt>{first if i == 0 else ''}{name}</dt><dd>{value}</dd>" for i, (name, value) in enumerate(rows)]
    return f"<dl>{''.join(cells)}</dl>"


def _pictures(rollout: Rollout, index: int) -> str:
    """The keyframes of the targets so far, at the source's shape, with what this round placed on them."""
    targets: tuple[Target, ...] = ()
    for turn in rollout.turns[: index + 1]:
        targets = merge_targets(targets, turn.answer.targets) if targets else turn.answer.targets
    on: dict[int, list[str]] = {}
    for i, target in enumerate(targets):
        if target.keyframe is not None and target.keyframe < len(rollout.clip):
            on.setdefault(target.keyframe, []).append(box_marks(target.boxes, target.points, target.point_labels, i))
    figures = [
        f'<figure class="picture"><div class="frame"><img src="{data_uri(rollout.clip.frames[k], 640)}"'
        f' alt="keyframe {k}">{"".join(marks)}</div><figcaption>keyframe {k} · frame '
        f"{int(rollout.clip.frame_ids[k])} of the source</figcaption></figure>"
        for k, marks in on.items()
    ]
    return f'<h3>On the picture</h3><div class="pictures">{"".join(figures)}</div>'


def not_held(rollout: Rollout) -> str:
    """Which of the planned rounds did not take place; nothing when all did or the model said "absent"."""
    if rollout.error is None or len(rollout.turns) >= rollout.planned:
        return ""
    left = [str(n) for n in range(len(rollout.turns) + 1, rollout.planned + 1)]
    rounds = f"Round{'s' if len(left) > 1 else ''} {' and '.join(left)}"
    return f'<section><p class="none">{rounds} did not take place: the reply above could not be read.</p></section>'
