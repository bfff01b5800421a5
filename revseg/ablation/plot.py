"""The plot of an ablation: one line per variant."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from revseg.errors import MissingExtraError, OutputError

if TYPE_CHECKING:
    from revseg.ablation.table import Table


def plot(table: "Table", path: str | Path, figure: str) -> Path:
    """Each variant's mean with its 95 % interval, single seeds as dots. See `Table.plot`."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("a plot needs matplotlib: pip install revseg[plots]") from error
    page = Figure(figsize=(6.4, 1.1 + 0.42 * len(table.variants)), layout="constrained")
    axes: Any = page.add_subplot()
    cells = [table.cell(name, figure) for name in table.variants]
    for place, cell in enumerate(cells):
        colour = "#555555" if place == 0 else "#2f6f9f"
        low, high = (cell.mean if bound is None else bound for bound in (cell.low, cell.high))
        axes.plot([low, high], [place, place], color=colour, linewidth=2)
        axes.plot(list(cell.seeds.values()), [place] * len(cell.seeds), "o", color=colour, alpha=0.4, markersize=4)
        axes.plot(cell.mean, place, "D", color=colour, markersize=6)
    axes.axvline(cells[0].mean, color="#999999", linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(cells)), [name.replace("$", r"\$") for name in table.variants])
    axes.invert_yaxis()
    intervals = any(cell.low is not None for cell in cells)
    axes.set_xlabel(f"{figure}, mean and 95 % interval" if intervals else f"{figure}, mean: too few videos for more")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.25, linewidth=0.5)
    try:
        page.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write {path}: {error}; name a .png or .svg file in a folder that exists") from error
    return Path(path)
