"""The chart of the reasoning page: how much of the frame the masks cover over time, as numbers for an SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from revseg.colours import RGB, css
from revseg.masks import MaskTrack
from revseg.types import Segmentation

WIDTH, HEIGHT = 1000.0, 150.0  # of the SVG's coordinates
UNSURE = 0.5  # a frame whose mask has a lower confidence is marked


@dataclass(frozen=True)
class Timeline:
    """Lines as the `points` of an SVG polyline, and places along the x-axis. The template draws them."""

    height: float
    share: str
    truth: str | None
    unsure: tuple[float, ...]  # left ends of hatched stretches
    step: float  # the width of a frame
    seen: tuple[float, ...] | None  # frames that the policy saw; None where no policy was asked
    keyframes: tuple[tuple[float, str], ...]  # place, CSS colour
    colour: str  # of the first object, for the legend

    @staticmethod
    def of(result: Segmentation, truth: MaskTrack | None, colours: Sequence[RGB], *, asked: bool) -> "Timeline":
        """`asked`: whether a policy was asked, so that the frames it saw are marked. A truth of another length is
        left out."""
        masks, rollout = result.masks, result.rollout
        ids, pixels = masks.frame_ids, float(np.prod(masks.size))
        share = masks.areas / pixels
        whole = None if truth is None or len(truth) != len(masks) else truth.areas / pixels
        top = max(float(share.max(initial=0)), 0 if whole is None else float(whole.max(initial=0)), 1e-9) * 1.12
        step = WIDTH / max(len(masks) - 1, 1)
        unsure = masks.union().scores[0] < UNSURE
        return Timeline(
            height=HEIGHT,
            share=_polyline(share / top, step),
            truth=None if whole is None else _polyline(whole / top, step),
            unsure=tuple(float(row) * step - step / 2 for row in np.flatnonzero(unsure)),
            step=step,
            seen=tuple((np.searchsorted(ids, rollout.clip.frame_ids) * step).tolist()) if asked else None,
            keyframes=tuple(
                (float(np.searchsorted(ids, g.frame_id)) * step, css(colours[g.object_id])) for g in rollout.groundings
            ),
            colour=css(colours[0]),
        )


def _polyline(values: Float64[np.ndarray, " t"], step: float) -> str:
    """Values in [0, 1], from the bottom of the chart up."""
    return " ".join(f"{i * step:.1f},{HEIGHT - value * HEIGHT:.1f}" for i, value in enumerate(values))
