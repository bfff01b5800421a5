"""What every command does with errors: a user's error is one line on stderr; only a bug shows a traceback.

Exit codes: 0 done, also when the target is not in the video; 1 a bug, or a part that broke its contract; 2 wrong usage,
such as an unknown part; 3 an input that cannot be read or an output that cannot be written; 4 the model's reply could
not be parsed (the results are written, with empty masks).
"""

import functools
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer

from revseg.errors import PartError, RevsegError, SpecError

BUG, USAGE, BAD_INPUT, UNREADABLE_REPLY = 1, 2, 3, 4


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """The command, with a user's errors and warnings printed as one line each on stderr."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        with _errors_as_lines():
            command(*arguments, **options)

    return run


def at_terminal() -> bool:
    """Whether to show progress: stderr is a terminal."""
    return sys.stderr.isatty()


def print_safely(result: Any) -> None:
    """Print text, or anything else as JSON, on stdout, with control characters as spaces.

    Queries and replies come from outside: by control characters they could write over the terminal.
    """
    text = result if isinstance(result, str) else json.dumps(result, indent=2, default=str)
    typer.echo("".join(c if c.isprintable() or c == "\n" else " " for c in text))


@contextmanager
def _errors_as_lines() -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _as_line(warnings.showwarning)
            yield
    except RevsegError as error:
        typer.echo(f"revseg: {' '.join(str(error).split())}", err=True)
        code = USAGE if isinstance(error, SpecError) else BUG if isinstance(error, PartError) else BAD_INPUT
        raise typer.Exit(code) from error


def _as_line(show: Callable[..., None]) -> Callable[..., None]:
    """Show a UserWarning as one line without the place in the code; other warnings as they are."""

    def shown(message: Any, category: Any, *place: Any, **more: Any) -> None:
        if issubclass(category, UserWarning):
            typer.echo(f"revseg: warning: {' '.join(str(message).split())}", err=True)
        else:
            show(message, category, *place, **more)

    return shown
