"""Tables of plain text: aligned columns, no colours and no line breaks, the same on every terminal and in a file."""

import io
from collections.abc import Sequence

WIDTH = 10_000  # columns of the console that tables are laid out on: wide enough that nothing wraps


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[int] = (0,)) -> str:
    """The rows below their head, a line each. The columns numbered in `left` are left-aligned, the others right.

    Line breaks inside a cell become spaces. Characters that are two columns wide, such as Chinese ones, are counted so.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    for number in range(len(head)):
        table.add_column(justify="left" if number in left else "right", no_wrap=True)
    for row in (head, *rows):
        table.add_row(*(Text(" ".join(cell.splitlines())) for cell in row))  # a `Text` holds no markup
    console = Console(file=io.StringIO(), width=WIDTH, force_terminal=False, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())
