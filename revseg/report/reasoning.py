"""The reasoning chain as one self-contained HTML page: question, frames, thinking, boxes, masks, rewards."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from revseg.colours import RGB, css
from revseg.masks import MaskTrack
from revseg.report.conversation import keyframes, missing_rounds, round_view
from revseg.report.pictures import Figure, data_uri, paint, scene_colours, spread
from revseg.report.templates import render
from revseg.report.timeline import Timeline
from revseg.types import Grounding, RewardBreakdown, Segmentation
from revseg.video import Video

MASK_FRAMES = 8
PARTS = ("policy", "tracker", "sampler")  # in sight under "Made with", where the whole spec is folded away


@dataclass(frozen=True)
class RewardRows:
    """The table of rewards: (name, value, weight, weighted value) per row, and the most that the total can be."""

    rows: tuple[tuple[str, float, float, float], ...]
    total: float
    most: float

    @staticmethod
    def of(rewards: RewardBreakdown) -> "RewardRows":
        pairs = [(name, value, rewards.weights[name]) for name, value in rewards.values.items()]
        most = sum(max(weight, 0) for weight in rewards.weights.values())
        return RewardRows(tuple((n, value, weight, weight * value) for n, value, weight in pairs), rewards.total, most)


def reasoning_page(
    result: Segmentation,
    video: Video,
    *,
    truth: MaskTrack | None = None,
    scores: Mapping[str, float] | None = None,
) -> str:
    """A self-contained HTML page (text) about one segmentation; reads only the frames that it shows.

    `truth` adds its area to the chart; `scores` are figures in [0, 1] to show at the top, such as {"J&F": 0.93}.
    Everything a model wrote is escaped. The page loads nothing from the network. Frames are numbered as in the source.
    """
    rollout, colours, given = result.rollout, scene_colours(result, video), was_given(result)
    asked = not given or rollout.error is not None
    groundings, visible = rollout.groundings, int(result.masks.visible.sum())
    return render(
        "reasoning.html",
        result=result,
        video=video,
        scores=scores or {},
        given=given,
        asked=asked,
        visible=visible,
        rounds=[round_view(rollout, index, colours) for index in range(len(rollout.turns))] if asked else [],
        boxes=[] if asked else keyframes(rollout, len(rollout.turns) - 1, colours),
        missing=missing_rounds(rollout),
        frames=_mask_figures(result, video, colours) if groundings else [],
        timeline=Timeline.of(result, truth, colours, asked=not given) if groundings else None,
        rewards=None if result.rewards is None else RewardRows.of(result.rewards),
        parts=[(kind, _plain(result.spec[kind])) for kind in PARTS if result.spec.get(kind) is not None],
        spec=json.dumps(dict(result.spec), indent=2, default=str, ensure_ascii=False) if result.spec else "",
    )


def was_given(result: Segmentation) -> bool:
    """True when the user gave keyframe and box (policy `given`), so that no model was asked."""
    policy = result.spec.get("policy")
    name = policy.get("name") if isinstance(policy, Mapping) else policy
    return isinstance(name, str) and name.partition(":")[0] == "given"


def _mask_figures(result: Segmentation, video: Video, colours: Sequence[RGB]) -> list[Figure]:
    masks, groundings = result.masks, result.rollout.groundings
    rows = _rows_to_show(masks, groundings)
    frames, dense = video.read(masks.frame_ids[rows]), masks.dense(masks.frame_ids[rows])
    context = None if result.context is None else result.context.dense(masks.frame_ids[rows])
    objects = {g.frame_id: g.object_id for g in reversed(groundings)}
    figures = []
    for place, frame_id in enumerate(masks.frame_ids[rows].tolist()):
        caption = f"frame {frame_id}{' · keyframe' if frame_id in objects else ''}"
        caption += "" if dense[:, place].any() else " · empty"
        others = None if context is None else context[:, place]
        src = data_uri(paint(frames[place], dense[:, place], colours, context=others), 480)
        colour = css(colours[objects[frame_id]]) if frame_id in objects else None
        figures.append(Figure(src, caption, caption, colour))
    return figures


def _rows_to_show(masks: MaskTrack, groundings: Sequence[Grounding]) -> list[int]:
    """Evenly spread rows of the track; each keyframe replaces the row nearest to it."""
    rows = set(spread(len(masks), MASK_FRAMES).tolist())
    for grounding in groundings[:MASK_FRAMES]:
        row = int(np.searchsorted(masks.frame_ids, grounding.frame_id))
        if row < len(masks) and row not in rows:
            rows.discard(min(rows, key=lambda r: abs(r - row)))
            rows.add(row)
    return sorted(rows)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
