"""How every command ends: one line for a user's error, an exit code, a traceback for a bug alone.

Exit codes: 0 done, "the target is not in the video" included; 1 a bug, or a part that broke its contract; 2 wrong
usage, an unknown part among it; 3 an input that cannot be read or an output that cannot be written; 4 a reply of the
model could not be read (the results are written all the same, with empty masks).
"""

import functools
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from revseg.errors import PartError, RevsegError, SpecError

BUG, USAGE, BAD_INPUT, UNREADABLE_REPLY = 1, 2, 3, 4

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Trust = Annotated[bool, typer.Option("--trust", help="Let what the policy's checkpoint was taught name code.")]


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """The command with a user's errors and warnings as one line each on stderr; a bug keeps its traceback."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        with _one_line_each():
            command(*arguments, **options)

    return run


def at_terminal() -> bool:
    """Whether progress has somebody to look at it."""
    return sys.stderr.isatty()


def print_safely(found: Any) -> None:
    """Text, or anything else as JSON, without control characters, by which a query could write over a terminal."""
    text = found if isinstance(found, str) else json.dumps(found, indent=2, default=str)
    typer.echo("".join(c if c.isprintable() or c == "\n" else " " for c in text))


@contextmanager
def _one_line_each() -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _one_line(warnings.showwarning)
            yield
    except RevsegError as error:
        typer.echo(f"revseg: {' '.join(str(error).split())}", err=True)
        code = USAGE if isinstance(error, SpecError) else BUG if isinstance(error, PartError) else BAD_INPUT
        raise typer.Exit(code) from error


def _one_line(show: Callable[..., None]) -> Callable[..., None]:
    """Warnings of the user's kind without the place in the code, which says nothing on a command line."""

    def shown(message: Any, category: Any, *place: Any, **more: Any) -> None:
        if issubclass(category, UserWarning):
            typer.echo(f"revseg: warning: {' '.join(str(message).split())}", err=True)
        else:
            show(message, category, *place, **more)

    return shown
