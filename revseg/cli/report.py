"""The commands that explain results: `diagnose` names what goes wrong, `report` writes a site to browse."""

from pathlib import Path
from typing import Annotated, Any

import typer

from revseg.cli.guard import at_terminal, print_safely
from revseg.cli.options import AsJson, Overwrite


def diagnose(
    file: Annotated[Path, typer.Argument(help="A results file, a training run's log.jsonl, or the run's folder.")],
    as_json: AsJson = False,
) -> None:
    """Name what goes wrong in an evaluation or a training run.

    Prints failure signatures with their evidence and the rows or steps to look at.
    """
    from revseg.diagnosis.diagnose import diagnose as run

    diagnosis = run(file)
    print_safely(diagnosis.to_dict() if as_json else diagnosis.text())


def report(
    file: Annotated[Path, typer.Argument(help="A results file.")],
    out: Annotated[Path, typer.Option(help="The folder to write; open its index.html.")],
    other: Annotated[Path | None, typer.Argument(help="A second run on the same data, shown beside it.")] = None,
    dataset: Annotated[
        str | None, typer.Option(help="The dataset that pictures come from. Default: the one that the results name.")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="The folder that holds the dataset now.")] = None,
    limit: Annotated[int | None, typer.Option(min=0, help="Only the first samples.")] = None,
    frames: Annotated[int, typer.Option(min=0, help="Most frames shown per sample; 0: none.")] = 6,
    overwrite: Overwrite = False,
) -> None:
    """Write a site to browse the results of one run or two.

    Filters, frames, thinking, boxes, masks and rewards; two runs side by side. Needs no server and no network.
    """
    from revseg.report import write_site

    options: dict[str, Any] = {"dataset": dataset, "root": root, "limit": limit, "frames": frames}
    write_site(file, out, other, **options, overwrite=overwrite, progress=at_terminal())
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print_safely(f"{out}/index.html: {size / 2**20:.1f} MiB; open it in a browser")
