"""`import revseg` against `import torch`, each in a fresh process.

    python benchmarks/speed/imports.py --out benchmarks/results/speed/imports.json

CPU time of the child processes; the interpreter's own start is taken off both. `names` also asks for the first public
name, which loads NumPy and pycocotools.
"""

import statistics
import subprocess
import sys

import measure


def run(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)


def main() -> None:
    given = measure.arguments(__doc__).parse_args()
    turns = 1 if given.small else 7
    starts = [_seconds("pass") for _ in range(turns + 1)]
    bare = statistics.median(starts)
    rows = []
    for what, code in (("import revseg", "import revseg"), ("its names", "import revseg; revseg.MaskTrack")):
        pairs = [(_seconds(code) - bare, _seconds("import torch") - bare) for _ in range(turns + 1)][1:]
        heavy = subprocess.run(
            [sys.executable, "-c", f"{code}; import sys; print([m for m in ('torch', 'cv2') if m in sys.modules])"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        rows.append(
            {
                "what": f"{what}, against import torch",
                "ours_s": measure.spread([ours for ours, _ in pairs]),
                "baseline_s": measure.spread([torch for _, torch in pairs]),
                "ratio": measure.spread([torch / max(ours, 1e-3) for ours, torch in pairs]),
                "heavy_modules_loaded": heavy,
                "target": 10,
            }
        )
    measure.report(rows, given.out)


def _seconds(code: str) -> float:
    began = measure.children_seconds()
    run(code)
    return measure.children_seconds() - began


if __name__ == "__main__":
    main()
