"""The `revseg` command. Each of its commands is one call into the library."""

import io
import os
import sys
from typing import Annotated

import typer

from revseg import __version__
from revseg.cli.convert import convert
from revseg.cli.data import data
from revseg.cli.evaluate import evaluate
from revseg.cli.filter import filter_data
from revseg.cli.guard import BAD_INPUT, guarded
from revseg.cli.list import list_parts
from revseg.cli.report import diagnose, report
from revseg.cli.score import compare, rescore, score, submit
from revseg.cli.segment import demo, segment
from revseg.cli.train import train
from revseg.cli.verl import rows, verl_command
from revseg.output import is_full

app = typer.Typer(
    help="Reasoning video segmentation: a video and a question in, masks and the reasoning out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
app.add_typer(data, name="data")


def _print_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"revseg {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


COMMANDS = (demo, segment, evaluate, score, rescore, compare, submit, convert, diagnose, report, train, rows)

for _command in COMMANDS:
    app.command(_command.__name__)(guarded(_command))
app.command("filter")(guarded(filter_data))
app.command("verl-command")(guarded(verl_command))
app.command("list")(guarded(list_parts))


def main() -> None:
    """The entry point. Characters that stdout cannot encode are escaped; a full disk is one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except OSError as error:
        if not is_full(error):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python flushes stdout again on exit, which would fail again
        typer.echo(f"revseg: cannot write the output: {error.strerror or error}", err=True)
        sys.exit(BAD_INPUT)
