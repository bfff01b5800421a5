"""`revseg data check`: is a dataset on disk complete and intact?"""

from typing import Annotated, Any

import typer

from revseg.cli.guard import BAD_INPUT, at_terminal, guarded, print_safely
from revseg.cli.options import AsJson

data = typer.Typer(help="Check datasets on disk.", no_args_is_help=True, rich_markup_mode=None)


@data.callback()
def _group() -> None:
    """Without a callback, typer would make the only command the group itself."""


@data.command()
@guarded
def check(
    name: Annotated[
        str, typer.Argument(help="Such as mevis or 'revos:split=train,exclude=TAO/*'; see `revseg list dataset`.")
    ],
    root: Annotated[str, typer.Argument(help="The folder that holds it.")],
    split: Annotated[str | None, typer.Option(help="Such as train. Default: the reader's own.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Check only this many samples, evenly spread.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check counts, frames, masks, sizes and known faults.

    Prints what is wrong and where. Downloads nothing. Ends with exit code 3 when something is wrong.
    """
    from revseg.datasets.check import check as check_dataset

    options: dict[str, Any] = {} if split is None else {"split": split}
    report = check_dataset(name, root, limit=limit, progress=at_terminal(), **options)
    print_safely(report.to_dict() if as_json else report.text())
    if not report.ok:
        raise typer.Exit(BAD_INPUT)
