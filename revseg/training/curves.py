"""Training curves, as the paper's Figure 4: rewards, length and turns over steps, from a run's log."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from revseg.errors import InputError, MissingExtraError, OutputError
from revseg.training.log import read_log

_TITLES = {"reward": "total reward", "tokens": "generated tokens", "turns": "turns"}
_COLOURS = ("#2f6f9f", "#3f8f5f", "#b5651d", "#7a4f9a", "#a23b52", "#555555")


def draw_curves(runs: Sequence[str | Path], out: str | Path, *, smoothing: int = 15, title: str | None = None) -> Path:
    """Draw each reward, their total, tokens and turns of one run, or of several seeds of one; PNG or SVG by `out`.

    `runs` are folders of `revseg.train` (or their log.jsonl). The bold line is the mean over runs, averaged over
    `smoothing` steps around each point; the thin line is the same mean without smoothing. With several runs the band
    is one standard deviation over them, smoothed the same way. Steps that not all runs have are left out.

    MissingExtraError without matplotlib; InputError for a run without a log; OutputError when `out` cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("curves need matplotlib: pip install revseg[plots]") from error
    if smoothing < 1:
        raise InputError(f"expected smoothing over 1 step or more, got {smoothing}")
    steps, columns = read_runs(runs)
    panels = [(_title(name), values) for name, values in columns.items()]
    across = min(3, len(panels))
    down = -(-len(panels) // across)
    figure = Figure(figsize=(3.6 * across, 2.6 * down), layout="constrained")
    if title:
        figure.suptitle(title)
    for index, (name, values) in enumerate(panels):
        axes: Any = figure.add_subplot(down, across, index + 1)
        _panel(axes, steps, values, smoothing, _COLOURS[index % len(_COLOURS)])
        axes.set_title(name, fontsize=10)
        if index >= len(panels) - across:
            axes.set_xlabel("step")
    try:
        figure.savefig(out, dpi=150)
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write {out}: {error}; name a .png or .svg file in a folder that exists") from error
    return Path(out)


def read_runs(runs: Sequence[str | Path]) -> tuple[Float64[np.ndarray, " s"], dict[str, Float64[np.ndarray, "r s"]]]:
    """The steps that all runs have, and per curve its values [runs, steps]; rewards first, as the log orders them."""
    if not runs:
        raise InputError("expected at least one run")
    logs = []
    for run in runs:
        path = Path(run, "log.jsonl") if Path(run).is_dir() else Path(run)
        rows = {int(row["step"]): row for row in read_log(path)} if path.is_file() else {}
        if not rows:
            raise InputError(f"{path}: expected the log of a training run, found none")
        logs.append(rows)
    steps = sorted(set.intersection(*(set(rows) for rows in logs)))
    if not steps:
        raise InputError("these runs have no step in common")
    first = logs[0][steps[0]]
    names = [n for n in first if n.startswith("reward/")] + [n for n in _TITLES if n in first]
    values = {n: np.array([[rows[s].get(n, np.nan) for s in steps] for rows in logs], np.float64) for n in names}
    return np.array(steps, np.float64), values


def smooth(values: Float64[np.ndarray, " s"], window: int) -> Float64[np.ndarray, " s"]:
    """A centred moving mean over `window` steps; at the ends over fewer."""
    means = []
    for place in range(len(values)):
        part = values[max(place - window // 2, 0) : place + window // 2 + 1]
        part = part[np.isfinite(part)]
        means.append(part.mean() if len(part) else np.nan)
    return np.array(means)


def _panel(axes: Any, steps: np.ndarray, values: np.ndarray, smoothing: int, colour: str) -> None:
    mean = values.mean(0)
    bold = smooth(mean, smoothing)
    if len(values) > 1:
        band = smooth(values.std(0, ddof=1), smoothing)
        axes.fill_between(steps, bold - band, bold + band, color=colour, alpha=0.18, linewidth=0)
    axes.plot(steps, mean, color=colour, alpha=0.35, linewidth=0.8)
    axes.plot(steps, bold, color=colour, linewidth=1.8)
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def _title(name: str) -> str:
    return _TITLES.get(name, f"{name.removeprefix('reward/').rsplit('.py:', 1)[-1]} reward")
