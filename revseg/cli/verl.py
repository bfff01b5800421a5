"""`revseg rows`: what verl needs to train with revseg."""

from pathlib import Path
from typing import Annotated

import typer

from revseg.cli.guard import print_safely
from revseg.cli.options import Overwrite


def rows(
    dataset: Annotated[str, typer.Argument(help="A dataset with true masks, such as shapes:size=256.")],
    out: Annotated[Path, typer.Option(help="The parquet file to write.")],
    overwrite: Overwrite = False,
) -> None:
    """Write a dataset as parquet rows for training with verl.

    Each row holds its question, its true masks and where its video is.
    """
    from revseg.integrations.verl.rows import write_rows

    count = write_rows(dataset, out, overwrite=overwrite)
    print_safely(f"{count} rows: {out}")
