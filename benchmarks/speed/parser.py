"""The parsers on hostile replies of 1 MB: seconds, and whether they grow in proportion to the length.

    python benchmarks/speed/parser.py --out benchmarks/results/speed/parser.json

Each reply repeats one piece. Ours alone: there is no peer with the same answer to every text.
"""

import time
from typing import Any

import measure
import numpy as np

from revseg.registry import build
from revseg.types import Clip

PIECES = ["[", "{", "{}", "[1,", "'", '"', "\\", '["', "[{'", "<think>", "<answer>", "</think>", "[' ", "9", " ", "\n"]
PIECES += ["```", '{"a":', "[[],", "]", "not ", "[1] ", '[{"bbox_2d": ', "\ud800", "\0", "[1,2,3,4],", '"a":"b",']
WRAPS = {
    "bare": "{}",
    "in a list": "[{}",
    "in a string": '["{}',
    "in the answer": "<think></think><answer>[{}</answer>",
}
PARSERS = ("keyframe_json", "box_json", "keyframe_and_box_json")


def seconds(parser: Any, reply: str, shown: Clip, strict: bool, repeats: int) -> float:
    """The best of some calls: what the text costs, without what the machine did meanwhile."""
    times = []
    for _ in range(repeats):
        began = time.process_time()
        parser(reply, shown, strict=strict)
        times.append(time.process_time() - began)
    return min(times)


def main() -> None:
    given = measure.arguments(__doc__).parse_args()
    size, repeats = (10_000, 1) if given.small else (1_000_000, 2)
    shown = Clip(np.zeros((4, 8, 8, 3), np.uint8), np.arange(4))
    found = []
    for name in PARSERS if not given.small else PARSERS[:1]:
        parser = build("parser", name)
        for piece in PIECES:
            for where, wrap in WRAPS.items():
                for strict in (False, True):
                    quarter, whole = (wrap.replace("{}", piece * (n // len(piece)), 1) for n in (size // 4, size))
                    short = seconds(parser, quarter, shown, strict, repeats)
                    long = seconds(parser, whole, shown, strict, repeats)
                    found.append((long, long / max(short, 1e-3), f"{name}, {piece!r} {where}, strict={strict}"))
    slowest = max(found)
    row = {
        "what": f"parsers on {len(found)} hostile replies of {size / 1e6:g} MB",
        "ours_s": measure.spread([long for long, _, _ in found]),
        "slowest": slowest[2],
        "growth_from_a_quarter": measure.spread([growth for long, growth, _ in found if long > 0.01] or [0.0]),
        "steepest": max((growth, what) for _, growth, what in found)[1],
        "target_s": 0.1,
        "ratio": 0.1 / max(slowest[0], 1e-9),
    }
    measure.report([row], given.out)


if __name__ == "__main__":
    main()
