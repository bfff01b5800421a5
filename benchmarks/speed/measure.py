"""What every script here shares: times of functions that take turns, peak memory, and the record of a run.

These machines are noisy, so only ratios from one run count: ours and the baseline take turns (A B A B ...), each turn
gives one ratio, and the record holds the median and the range of the turns.
"""

import argparse
import json
import os
import platform
import resource
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("numpy", "opencv-contrib-python-headless", "pycocotools", "torch", "transformers", "rf-sam-2", "av")


def arguments(about: str | None) -> argparse.ArgumentParser:
    """`--out results.json` and `--small`, which every script has."""
    parser = argparse.ArgumentParser(description=(about or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, help="write the record as JSON here")
    parser.add_argument("--small", action="store_true", help="smallest size, one turn: shows that the script runs")
    return parser


def take_turns(
    ours: Callable[[], Any], baseline: Callable[[], Any], *, turns: int, clock: Callable[[], float] = time.process_time
) -> dict[str, Any]:
    """Times of both, in seconds by `clock` (the process's CPU time by default), after one call each that is not timed.

    "ratio" is baseline over ours: how many times faster ours is.
    """
    times: dict[str, list[float]] = {"ours": [], "baseline": []}
    for warm in (ours, baseline):
        warm()
    for _ in range(turns):
        for name, function in (("ours", ours), ("baseline", baseline)):
            began = clock()
            function()
            times[name].append(clock() - began)
    ratios = [slow / max(fast, 1e-9) for fast, slow in zip(times["ours"], times["baseline"], strict=True)]
    return {"ours_s": spread(times["ours"]), "baseline_s": spread(times["baseline"]), "ratio": spread(ratios)}


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and most."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def per(found: Mapping[str, Any], number: int) -> dict[str, Any]:
    """The same times for one of `number` things that each call did."""
    times = {name: {k: v / number for k, v in found[name].items()} for name in ("ours_s", "baseline_s")}
    return {**times, "ratio": found["ratio"]}


def children_seconds() -> float:
    """CPU seconds of the child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def memory() -> tuple[int, int]:
    """(resident now, highest since the start or since `forget_peak`), in bytes. Linux."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    now, peak = (int(lines[name].split()[0]) << 10 for name in ("VmRSS", "VmHWM"))
    return now, peak


def forget_peak() -> None:
    """From here on `memory` gives the peak since now. Linux."""
    Path("/proc/self/clear_refs").write_text("5")


def run_child(*arguments: str) -> dict[str, Any]:
    """The calling script once more in a process of its own; the JSON object on the last line that it prints."""
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(
        [sys.executable, sys.argv[0], *arguments], capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode:
        raise SystemExit(f"{shlex.join(arguments)} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def report(rows: Sequence[Mapping[str, Any]], out: Path | None) -> None:
    """Prints the rows, and writes them with machine, versions, commit and command when `out` is given."""
    for row in rows:
        print(row["what"])
        for key, value in row.items():
            if key != "what":
                print(f"    {key:<12} {_told(value)}")
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps({"rows": list(rows), **circumstances()}, indent=1) + "\n")
        print(f"written to {out}")


def circumstances() -> dict[str, Any]:
    """The machine, the versions, the commit and the command, as JSON."""
    folder = Path(__file__).parent
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=folder, check=False)
    return {
        "machine": {"cpu": _cpu(), "cores": os.cpu_count(), "load": list(os.getloadavg()), "gpu": None},
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "commit": commit.stdout.strip(),
        "command": shlex.join(["python", os.path.relpath(sys.argv[0], folder.parent.parent), *sys.argv[1:]]),
        "date": time.strftime("%Y-%m-%d"),
    }


def _told(value: Any) -> str:
    if isinstance(value, Mapping) and set(value) == {"median", "min", "max"}:
        return f"{value['median']:.4g} ({value['min']:.4g} to {value['max']:.4g})"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
