"""Held-out figures of a policy on the synthetic world, beside a random policy and the oracle.

    python benchmarks/held_out.py --samples 300 --out benchmarks/results/held_out.json

Prints a table: parse rate, keyframe visible, box IoU > 0.5 and J&F with the `flow` tracker, by kind of question. The
rows lie in `--rows` (by default a folder that is removed), from which an interrupted run goes on.
"""

import argparse
import json
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ablations import machine
from error_attribution import judge

from revseg import ReVSeg, evaluate

COLUMNS = ("parsed", "keyframe_visible", "iou_over_half", "j_and_f", "temporal", "total")


def run(model: ReVSeg, dataset: str, out: Path, batch: int = 32) -> list[dict[str, Any]]:
    """What each question's row says; rows that are in `out` already are not made again."""
    return [judge(row) for row in evaluate(model, dataset, out, batch=batch)]


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
    parser.add_argument("--rows", default=None)
    args = parser.parse_args()
    spec = f"shapes:size={args.samples},split={args.split}"
    results, seconds = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for number, policy in enumerate(args.policies):
            began = time.perf_counter()
            rows = Path(args.rows or folder, f"{number}-{re.sub('[^a-z0-9]+', '-', policy.lower())}.jsonl")
            results[policy] = summary(run(ReVSeg(policy=policy, tracker=args.tracker), spec, rows))
            seconds[policy] = round(time.perf_counter() - began, 1)
    print(table(results))
    if args.out:
        record = {"dataset": spec, "tracker": args.tracker, "machine": machine()}
        Path(args.out).parent.mkdir(parents=True, exist_ok=True)
        Path(args.out).write_text(json.dumps({**record, "seconds": seconds, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
