"""Tables of plain text: aligned columns without colours, the same on every terminal and in a file."""

import io
from collections.abc import Sequence

UNBOUNDED = 10_000  # columns of the console that a table without a width is laid out on


def text_table(rows: Sequence[Sequence[str]], *, left: Sequence[int] = (0,), width: int | None = None) -> str:
    """The rows, the head among them, as aligned columns: those numbered in `left` left-aligned, the others right.

    A row is one line; only with a `width` does the last column wrap, so that lines are at most that long. Line breaks
    in a cell become spaces. Characters that take two columns, such as Chinese ones, count as two.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    last = len(rows[0]) - 1
    for number in range(last + 1):
        wraps = width is not None and number == last
        table.add_column(justify="left" if number in left else "right", no_wrap=not wraps)
    for row in rows:
        table.add_row(*(Text(" ".join(cell.splitlines())) for cell in row))  # a `Text` is not searched for markup
    console = Console(
        file=io.StringIO(), width=width or UNBOUNDED, force_terminal=False, color_system=None, legacy_windows=False
    )
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())
