"""The reasoning chain as one HTML page that needs nothing else: question, frames, thinking, box, masks, rewards."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np

from revseg.colours import RGB, css
from revseg.masks import MaskTrack
from revseg.report.conversation import given_section, not_held, round_section
from revseg.report.pictures import data_uri, paint, scene_colours, timeline
from revseg.types import Grounding, RewardBreakdown, Segmentation
from revseg.video import Video

MASK_FRAMES = 8
DOUBT = 0.5  # a mask with a lower score is marked as doubtful


def reasoning_page(
    result: Segmentation,
    video: Video,
    *,
    truth: MaskTrack | None = None,
    scores: Mapping[str, float] | None = None,
) -> str:
    """A self-contained HTML page (text) about one segmentation; reads only the frames that it shows.

    `truth` adds its area to the chart; `scores` are figures in [0, 1] to show at the top, such as {"J&F": 0.93}.
    Everything a model wrote is escaped. The page asks nothing of the network. Frames are numbered as in the source.
    """
    rollout, colours, given = result.rollout, scene_colours(result, video), was_given(result)
    if given and rollout.error is None:
        sections = [given_section(rollout, colours)]
    else:
        sections = [round_section(rollout, number, colours) for number in range(len(rollout.turns))]
    sections += [not_held(rollout), _masks(result, video, truth, colours)]
    sections += [_rewards(result.rewards)] if result.rewards is not None else []
    sections.append(_record(result, video))
    style = files("revseg.report").joinpath("style.css").read_text("utf-8")
    title = escape(rollout.query.text)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{style}</style></head><body><main>"
        f'<p class="eyebrow">revseg · {"a box followed" if given else "reasoning chain"}</p><h1>{title}</h1>'
        f"{_facts(result, video, scores or {})}"
        '<p class="lead">Frames are numbered from 0, as in the source.</p>'
        + "".join(sections)
        + "</main></body></html>\n"
    )


def was_given(result: Segmentation) -> bool:
    """True when the user named keyframe and box (policy `given`), so that nothing was chosen or found by a model."""
    policy = result.spec.get("policy")
    name = policy.get("name") if isinstance(policy, Mapping) else policy
    return isinstance(name, str) and name.partition(":")[0] == "given"


def _facts(result: Segmentation, video: Video, scores: Mapping[str, float]) -> str:
    kind = result.status
    words = {
        "found": "given" if was_given(result) else "found",
        "absent": "not in the video, says the model",
        "failed": f"failed · {result.rollout.error}",
    }
    visible = int(result.masks.visible.sum())
    chips = [f'<li class="chip {kind}">{escape(words.get(kind, kind))}</li>']
    chips += [f'<li class="chip">{escape(name)} <b>{value:.2f}</b></li>' for name, value in scores.items()]
    if kind == "found":
        objects = result.masks.objects
        chips.append(f'<li class="chip"><b>{objects}</b> object{"" if objects == 1 else "s"}</li>')
        chips.append(f'<li class="chip">on <b>{visible}</b> of <b>{len(result.masks)}</b> frames</li>')
    h, w = video.size
    chips.append(f'<li class="chip">{escape(video.id)} · {w}×{h} · {len(video) / max(video.fps, 1e-9):.1f} s</li>')
    return f'<ul class="facts">{"".join(chips)}</ul>'


def _masks(result: Segmentation, video: Video, truth: MaskTrack | None, colours: Sequence[RGB]) -> str:
    masks, groundings = result.masks, result.rollout.groundings
    if not groundings:
        why = "the model says that the target is absent" if result.status == "absent" else "there is no box to follow"
        return (
            f'<section><div class="head"><h2>Masks</h2></div><p class="lead">Empty on all {len(masks)} frames: {why}; '
            "the tracker did not run.</p></section>"
        )
    rows = _spread(masks, groundings)
    frames, dense = video.read(masks.frame_ids[rows]), masks.dense(masks.frame_ids[rows])
    keys = {g.frame_id: g.object_id for g in reversed(groundings)}
    figures = []
    for place, row in enumerate(rows):
        frame_id = int(masks.frame_ids[row])
        mark = f' class="chosen" style="--mark:{css(colours[keys[frame_id]])}"' if frame_id in keys else ""
        note = f"frame {frame_id}{' · keyframe' if frame_id in keys else ''}"
        note += "" if dense[:, place].any() else " · empty"
        picture = data_uri(paint(frames[place], dense[:, place], colours), 480)
        figures.append(f'<figure{mark}><img src="{picture}" alt="{note}"><figcaption>{note}</figcaption></figure>')
    return (
        '<section><div class="head"><h2>Masks</h2></div><p class="lead">Followed from the keyframe in both directions '
        f"through all {len(masks)} frames.</p><h3>Size over time</h3>{_chart(result, truth, colours)}<h3>Frames</h3>"
        f'<div class="strip wide">{"".join(figures)}</div></section>'
    )


def _spread(masks: MaskTrack, groundings: Sequence[Grounding]) -> list[int]:
    """Rows to show: evenly spread, each of the nearest ones given up for a keyframe."""
    rows = {int(i) for i in np.linspace(0, len(masks) - 1, min(MASK_FRAMES, len(masks))).round()}
    for grounding in groundings[:MASK_FRAMES]:
        row = int(np.searchsorted(masks.frame_ids, grounding.frame_id))
        if row < len(masks) and row not in rows:
            rows.discard(min(rows, key=lambda r: abs(r - row)))
            rows.add(row)
    return sorted(rows)


def _chart(result: Segmentation, truth: MaskTrack | None, colours: Sequence[RGB]) -> str:
    masks = result.masks
    pixels = float(np.prod(masks.size))
    whole = None if truth is None or len(truth) != len(masks) else truth.areas / pixels
    doubtful = masks.union().scores[0] < DOUBT
    ids = masks.frame_ids
    keys = [(float(np.searchsorted(ids, g.frame_id)), colours[g.object_id]) for g in result.rollout.groundings]
    seen = None if was_given(result) else np.searchsorted(ids, result.rollout.clip.frame_ids)
    chart = timeline(masks.areas / pixels, whole, doubtful, keys, seen)
    notes = ['<span><i style="border-color:var(--bar)"></i>masks, share of the frame</span>']
    if whole is not None:
        notes.append('<span><i style="border-top-style:dashed"></i>truth</span>')
    notes.append(f'<span><i style="border-color:{css(colours[0])}"></i>keyframe</span>')
    if seen is not None:
        tick = "border-color:var(--soft);width:1px;border-top-width:9px"
        notes.append(f'<span><i style="{tick}"></i>frames it saw</span>')
    if doubtful.any():
        notes.append(
            f'<span><i style="border-color:var(--bad);border-top-width:6px"></i>the tracker is unsure '
            f"({int(doubtful.sum())} frames)</span>"
        )
    return f'{chart}<p class="legend">{"".join(notes)}</p>'


def _rewards(rewards: RewardBreakdown) -> str:
    rows = []
    for name, value in rewards.values.items():
        bar = f'<div class="track"><span style="width:{100 * min(max(value, 0), 1):.1f}%"></span></div>'
        weight = rewards.weights[name]
        rows.append(
            f'<tr><td class="name">{escape(name)}</td><td class="bar">{bar}</td><td class="n">{value:.2f}</td>'
            f'<td class="n">× {weight:g}</td><td class="n">{weight * value:.2f}</td></tr>'
        )
    most = sum(max(weight, 0) for weight in rewards.weights.values())
    return (
        '<section><div class="head"><h2>Rewards</h2></div><p class="lead">What reinforcement learning would have given '
        'for this conversation, against the known truth.</p><table style="margin-top:14px"><tr><th>reward</th><th></th>'
        f'<th class="n">value</th><th class="n">weight</th><th class="n">gives</th></tr>{"".join(rows)}'
        f'<tr class="total"><td colspan="4">total, of {most:g}</td><td class="n">{rewards.total:.2f}</td></tr>'
        "</table></section>"
    )


def _record(result: Segmentation, video: Video) -> str:
    record: dict[str, Any] = dict(result.spec)
    parts = [("policy", record.get("policy")), ("tracker", record.get("tracker")), ("sampler", record.get("sampler"))]
    rows = [f"<dt>{name}</dt><dd>{escape(_plain(value))}</dd>" for name, value in parts if value is not None]
    whole = escape(json.dumps(record, indent=2, default=str, ensure_ascii=False))
    if not record:
        return ""
    return (
        f'<section><div class="head"><h2>Made with</h2></div><dl style="margin-top:12px">{"".join(rows)}</dl>'
        f"<details><summary>The whole model, to build it again</summary><pre>{whole}</pre></details></section>"
    )


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
