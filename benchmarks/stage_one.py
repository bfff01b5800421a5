"""Where J&F is lost: keyframe, description, box or tracker, each replaced by the truth's; and what the reward says.

    python benchmarks/stage_one.py --samples 300

Questions with one target that is in the video. `shares` counts how often a stage goes wrong; `lost` is the J&F that
comes back when the truth takes a stage over, first keyframe and description, then the box as well, then the tracker;
`correlation` is that of the temporal reward with J&F over questions, of the policy alone and where its box is right.
"""

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from ablations import TRAINED, Size, main
from error_attribution import judge

import revseg
from revseg import Variant
from revseg.evaluation import Results
from revseg.evaluation.results import Row
from revseg.grounding.boxes import areas
from revseg.masks import MaskTrack
from revseg.policies.canonical_reply import write
from revseg.types import Message, Policy, Reply, Rollout, Sample, Sampling, Target

KINDS = ("attribute", "motion", "time", "relation", "comparison")
THINKING = re.compile(r"<think>(.*?)</think>", re.DOTALL)


@dataclass(frozen=True)
class Assisted:
    """A policy of two rounds in whose answers the truth replaces some parts; its thinking stays its own.

    Truth's keyframe is the sampled frame with the target's largest box; its box is that of the conversation's
    keyframe, where the target is visible. An answer without a target stays as it is, unless the truth gives all of it.
    """

    policy: Any
    keyframe: bool = False
    description: bool = False
    box: bool = False

    @cached_property
    def built(self) -> Policy:
        return revseg.build("policy", self.policy)

    @cached_property
    def truths(self) -> dict[str, MaskTrack]:
        """By the query's id."""
        return {}

    @property
    def defaults(self) -> dict[str, Any]:
        return getattr(self.built, "defaults", {})

    def with_truth(self, samples: Sequence[Sample], /) -> "Assisted":
        """The policy that knows the truth of these samples; the pipeline asks for one for each batch."""
        truths = {sample.query.id: sample.truth for sample in samples if sample.truth is not None}
        knowing = copy.copy(self)
        vars(knowing).update(built=self.built, truths=truths)  # both are cached properties
        return knowing

    def reply(self, rollouts: Sequence[Rollout], prompts: Sequence[Message], *, sampling: Sampling) -> list[Reply]:
        own = self.built.reply(rollouts, prompts, sampling=sampling)
        rows = zip(rollouts, prompts, own, strict=True)
        return [self._mended(rollout, prompt, reply) for rollout, prompt, reply in rows]

    def _mended(self, rollout: Rollout, prompt: Message, reply: Reply) -> Reply:
        first = not rollout.turns
        if not (self.keyframe or self.description if first else self.box):
            return reply
        targets = self._first(rollout, reply.text) if first else self._second(rollout)
        if not targets:
            return reply
        thought = THINKING.search(reply.text)
        return write(rollout, prompt, targets, "pixel", thinking=thought[1] if thought else "")

    def _first(self, rollout: Rollout, text: str) -> list[Target]:
        truth = self.truths[rollout.query.id]
        boxes = truth.union().at(rollout.clip.frame_ids).boxes
        best, name = int(areas(boxes).argmax()), " and ".join(truth.names)
        if self.keyframe and self.description:
            return [Target(int(rollout.clip.frame_ids[best]), name)]
        told = revseg.build("parser", "keyframe_json")(text, rollout.clip).targets
        if self.keyframe:
            return [replace(target, frame_id=int(rollout.clip.frame_ids[best])) for target in told]
        return [replace(target, description=name) for target in told[:1]]

    def _second(self, rollout: Rollout) -> list[Target]:
        known = rollout.targets[0]
        assert known.frame_id is not None  # round 1 parsed
        seen = self.truths[rollout.query.id].union().at([known.frame_id])
        return [replace(known, boxes=seen.boxes)] if seen.visible[0] else []


def assisted(policy: Any, **parts: bool) -> dict[str, Any]:
    """The spec of an `Assisted` policy."""
    return {"name": "stage_one:Assisted", "policy": policy, **parts}


def run(out: Path, size: Size) -> dict[str, Any]:
    """Shares, losses and correlations, and the table of all swaps."""
    policy = size.base.policy
    swaps = {
        "policy": {},
        "true keyframe": {"keyframe": True},
        "true description": {"description": True},
        "true keyframe and description": {"keyframe": True, "description": True},
        "true box": {"box": True},
        "true keyframe, description and box": {"keyframe": True, "description": True, "box": True},
    }
    variants: dict[str, Any] = {
        name: Variant({"policy": assisted(policy, **parts) if parts else policy}, train=False, seeds=(0,))
        for name, parts in swaps.items()
    }
    last = {"policy": assisted(policy, keyframe=True, description=True, box=True), "tracker": "oracle"}
    variants["true everything, tracker too"] = Variant(last, train=False, seeds=(0,))
    kinds = f"kinds={list(KINDS)!r}"
    table = size.ablate(variants, out, dataset=size.shapes(size.samples, "test", kinds))
    rows = [row for row in Results.open(table.runs[0].path) if not row.crashed]
    return {"shares": _shares(rows), "lost": _lost(table), "correlation": _correlations(rows), "table": table}


def _shares(rows: Sequence[Row]) -> dict[str, float]:
    """How often each stage goes wrong, of all questions; later stages of those that came so far."""
    found = [judge(row) for row in rows]
    named = [row for row in found if row["parsed"] and not row["absent"]]
    seen = [row for row in named if row["keyframe_visible"]]

    def share(some: Sequence[Mapping[str, Any]], name: str) -> float:
        return float(np.mean([not row[name] for row in some])) if some else float("nan")

    return {
        "did not parse": share(found, "parsed"),
        "said that it is not there": float(np.mean([row["absent"] for row in found])),
        "keyframe hides the target": share(named, "keyframe_visible"),
        "keyframe below half of Eq. 7": float(np.mean([row["temporal"] < 0.5 for row in named])) if named else 0.0,
        "description names something else": share(named, "described"),
        "box off, keyframe and description right": share([row for row in seen if row["described"]], "iou_over_half"),
        "box off, description wrong": share([row for row in seen if not row["described"]], "iou_over_half"),
    }


def _lost(table: Any) -> dict[str, Any]:
    """J&F won back by each stage in turn; what is left below 1 is beyond keyframe, box and tracker."""
    steps = {
        "keyframe and description": ("true keyframe and description", "policy"),
        "box": ("true keyframe, description and box", "true keyframe and description"),
        "tracker": ("true everything, tracker too", "true keyframe, description and box"),
    }
    gaps = {name: table.difference(*pair) for name, pair in steps.items()}
    return {name: {"J&F": d.difference, "low": d.low, "high": d.high} for name, d in gaps.items()}


def _correlations(rows: Sequence[Row]) -> dict[str, Any]:
    found = [judge(row) for row in rows]
    return {
        "all questions": correlation(found),
        "right description": correlation([row for row in found if row["described"]]),
        "right box": correlation([row for row in found if row["iou_over_half"]]),
    }


def correlation(rows: Sequence[Mapping[str, Any]], draws: int = 2000) -> dict[str, Any]:
    """Pearson's and Spearman's, of temporal reward and J&F, with 95 % bootstrap intervals over questions."""
    from scipy.stats import rankdata

    pairs = np.array([[row["temporal"], row["j_and_f"]] for row in rows], np.float64).reshape(-1, 2)
    result: dict[str, Any] = {"questions": len(pairs)}
    ranks = np.stack([rankdata(column) for column in pairs.T], -1) if len(pairs) else pairs
    for name, values in (("pearson", pairs), ("spearman", ranks)):
        rng = np.random.default_rng(0)
        drawn = [_r(values[rng.integers(len(values), size=len(values))]) for _ in range(draws)] if len(values) else []
        drawn = [r for r in drawn if r is not None]
        low, high = np.quantile(drawn, [0.025, 0.975]).tolist() if drawn else (None, None)
        result[name] = {"r": _r(values), "low": low, "high": high}
    return result


def _r(values: np.ndarray) -> float | None:
    """None where one of the two does not vary."""
    if len(values) < 3 or (np.ptp(values, 0) == 0).any():
        return None
    return float(np.corrcoef(values.T)[0, 1])


if __name__ == "__main__":
    main("stage_one", __doc__, run, Size(1, (0,), 300, {"policy": TRAINED}))
