"""The commands that explain: `diagnose` names what goes wrong, `report` makes a site to browse. Thin."""

from pathlib import Path
from typing import Annotated, Any

import typer

from revseg.cli.guard import AsJson, at_terminal, print_safely


def diagnose(
    file: Annotated[Path, typer.Argument(help="A results file, a training run's log.jsonl, or the run's folder.")],
    as_json: AsJson = False,
) -> None:
    """Names the failure signatures of an evaluation or a training run, with evidence and examples to look at."""
    from revseg.diagnosis.diagnose import diagnose as run

    found = run(file)
    print_safely(found.to_dict() if as_json else found.text())


def report(
    file: Annotated[Path, typer.Argument(help="A results file.")],
    out: Annotated[Path, typer.Option(help="The folder to write; open its index.html.")],
    other: Annotated[Path | None, typer.Argument(help="Another run on the same data, to show beside it.")] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Where pictures come from. Default: the dataset that the results name.")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Where that dataset lies now.")] = None,
    limit: Annotated[int | None, typer.Option(min=0, help="Only the first samples.")] = None,
    frames: Annotated[int, typer.Option(min=0, help="Most frames shown of a sample; 0: none.")] = 6,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier site.")] = False,
) -> None:
    """Writes a static site to browse results: filters, frames, thinking, boxes, masks, rewards; two runs side by side.

    It needs no server and no network.
    """
    from revseg.report import write_site

    options: dict[str, Any] = {"dataset": dataset, "root": root, "limit": limit, "frames": frames}
    write_site(file, out, other, **options, overwrite=overwrite, progress=at_terminal())
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print_safely(f"{out}/index.html: {size / 2**20:.1f} MiB; open it in a browser")
