"""`revseg data`: is a dataset on disk what it should be?"""

import json
from typing import Annotated, Any

import typer

from revseg.cli.guard import BAD_INPUT, AsJson, at_terminal, guarded

data = typer.Typer(help="Datasets on disk.", no_args_is_help=True, rich_markup_mode=None)


@data.callback()
def _group() -> None:
    """Keeps `check` a sub-command although it is the only one."""


@data.command()
@guarded
def check(
    name: Annotated[str, typer.Argument(help="The reader, with options: mevis, or 'revos:split=train,exclude=TAO/*'.")],
    root: Annotated[str, typer.Argument(help="The folder that holds it.")],
    split: Annotated[str | None, typer.Option(help="Which part; what the reader takes by default.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Check so many samples, spread evenly.")] = None,
    as_json: AsJson = False,
) -> None:
    """Checks counts, frames, masks, sizes and known faults, and says what is wrong and where. Fetches nothing.

    Ends with 3 when something is wrong.
    """
    from revseg.datasets.check import check as check_dataset

    options: dict[str, Any] = {} if split is None else {"split": split}
    report = check_dataset(name, root, limit=limit, progress=at_terminal(), **options)
    typer.echo(json.dumps(report.to_dict(), indent=2) if as_json else report.text())
    if not report.ok:
        raise typer.Exit(BAD_INPUT)
