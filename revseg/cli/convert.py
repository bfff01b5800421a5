"""`revseg convert`: predictions in the files of other projects, out and back."""

from pathlib import Path
from typing import Annotated

import typer

from revseg.cli.evaluate import dataset_spec
from revseg.cli.guard import print_safely
from revseg.cli.options import Overwrite
from revseg.errors import SpecError


def convert(
    source: Annotated[Path, typer.Argument(help="A results file; with --from, predictions of another method.")],
    out: Annotated[Path, typer.Option(help="The folder or file to write; with --from, the results file.")],
    to: Annotated[
        str | None, typer.Option(help="Write a results file as png, palette, davis, results_json or coco_video.")
    ] = None,
    origin: Annotated[
        str | None, typer.Option("--from", help="The format of the predictions, one of the same.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="With --from: what was predicted, such as revos.")] = None,
    root: Annotated[Path | None, typer.Option(help="With --from: the folder that holds the dataset.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Convert masks to and from the files of other projects.

    With --from, another method's predictions become a results file, which `revseg score` scores.
    """
    from revseg.evaluation import export_predictions, import_predictions

    if (to is None) == (origin is None):
        raise SpecError("expected either --to FORMAT or --from FORMAT")
    if to is not None:
        print_safely(f"{export_predictions(source, to, out, overwrite=overwrite)}: written")
        return
    if dataset is None:
        raise SpecError("expected --dataset with --from: names and sizes are those of its queries")
    assert origin is not None
    results = import_predictions(source, origin, dataset_spec(dataset, root), out, overwrite=overwrite)
    missing = sum(row.failure == "no_prediction" for row in results)
    print_safely(f"{out}: {len(results)} queries, {missing} without a prediction")
