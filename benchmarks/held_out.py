"""Held-out figures of a policy on the synthetic world, beside a random policy and the oracle.

    python benchmarks/held_out.py --samples 300 --out benchmarks/results/held_out.json

Prints a table: parse rate, keyframe visible, box IoU > 0.5 and J&F with the `flow` tracker, by kind of question.
"""

import argparse
import json
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from revseg.grounding.boxes import iou, union_box
from revseg.metrics import j_and_f
from revseg.pipeline import ReVSeg
from revseg.registry import build
from revseg.types import Rollout, Sample

COLUMNS = ("parsed", "keyframe_visible", "iou_over_half", "j_and_f", "temporal", "total")


def judge(model: ReVSeg, sample: Sample, rollout: Rollout) -> dict[str, Any]:
    """One row: what the conversation got right, and J&F of the masks that come of it."""
    assert sample.truth is not None
    truth = sample.truth.union()
    seen = truth.at(rollout.clip.frame_ids)
    rewards = model.score(rollout, sample.truth)
    row: dict[str, Any] = {
        "kind": sample.meta["kind"],
        "query": sample.query.text,
        "parsed": rollout.error is None,
        "absent": rollout.answer.absent,
        "temporal": rewards.values["temporal"],
        "total": rewards.total,
    }
    keyframes = [t.keyframe for t in rollout.answer.targets if t.keyframe is not None]
    row["keyframe_visible"] = bool(keyframes) and all(bool(seen.visible[k]) for k in keyframes)
    row["iou_over_half"] = False
    if rollout.groundings:
        first = rollout.groundings[0]
        boxes = np.concatenate([g.boxes for g in rollout.groundings if g.keyframe == first.keyframe])
        row["iou_over_half"] = float(iou(union_box(boxes)[None], seen.boxes[first.keyframe][None])[0, 0]) > 0.5
    if not truth.visible.any():
        row["keyframe_visible"] = row["iou_over_half"] = row["absent"]
    masks = model.track(sample.video, rollout)
    row["j_and_f"] = j_and_f(masks, truth).jf
    return row


def run(model: ReVSeg, samples: Sequence[Sample], batch: int = 32) -> list[dict[str, Any]]:
    rows = []
    for start in range(0, len(samples), batch):
        some = samples[start : start + batch]
        for sample, (rollout,) in zip(some, model.rollouts(some), strict=True):
            rows.append(judge(model, sample, rollout))
    return rows


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Means by kind, over all questions, and over those with one target in the video ("single")."""
    groups = {"all": rows, "single": [r for r in rows if r["kind"] not in ("absent", "several")]}
    groups |= {kind: [r for r in rows if r["kind"] == kind] for kind in sorted({r["kind"] for r in rows})}
    return {
        name: {"n": len(some), **{c: float(np.mean([r[c] for r in some])) for c in COLUMNS}}
        for name, some in groups.items()
        if some
    }


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    lines = ["| policy | questions | n | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 3) + "|"]
    for policy, groups in results.items():
        for name, row in groups.items():
            cells = " | ".join(f"{row[c]:.3f}" for c in COLUMNS)
            lines.append(f"| `{policy}` | {name} | {row['n']:.0f} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policies", nargs="+", default=["qwen", "random", "oracle"])
    parser.add_argument("--tracker", default="flow")
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--split", default="test")
    parser.add_argument("--out", default=None)
    args = parser.parse_args()
    spec = f"shapes:size={args.samples},split={args.split}"
    samples = list(build("dataset", spec))
    results, seconds = {}, {}
    for policy in args.policies:
        began = time.perf_counter()
        results[policy] = summary(run(ReVSeg(policy=policy, tracker=args.tracker), samples))
        seconds[policy] = round(time.perf_counter() - began, 1)
    print(table(results))
    if args.out:
        record = {"dataset": spec, "tracker": args.tracker, "machine": platform.processor() or platform.machine()}
        Path(args.out).parent.mkdir(parents=True, exist_ok=True)
        Path(args.out).write_text(json.dumps({**record, "seconds": seconds, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
