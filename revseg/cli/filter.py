"""`revseg filter`: a dataset and a tracker in, a file of scores by video out."""

from pathlib import Path
from typing import Annotated

import typer

from revseg.cli.evaluate import dataset_spec
from revseg.cli.guard import at_terminal, print_safely
from revseg.cli.options import AsJson, Tracker


def filter_data(
    dataset: Annotated[str, typer.Argument(help="Such as mevis or 'shapes:size=32'; see `revseg list dataset`.")],
    out: Annotated[Path, typer.Option(help="The file to write, such as filter.json.")],
    root: Annotated[Path | None, typer.Option(help="The folder that holds the dataset.")] = None,
    tracker: Tracker = "sam2",
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Mean IoU that a video needs.")] = 0.6,
    whole: Annotated[
        bool, typer.Option("--whole", help="Give the tracker whole videos instead of one frame at a time.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Find the videos whose true masks a tracker cannot follow.

    The tracker gets the true boxes. Run again after an interruption, it continues. Train without the bad videos on the
    dataset filtered:of=DATASET,by=FILE.
    """
    from revseg.training.filter_run import filter_to_file

    show = at_terminal() and not as_json
    found = filter_to_file(dataset_spec(dataset, root), tracker, out, threshold=threshold, whole=whole, progress=show)
    summary = found.summary()
    if as_json:
        print_safely(summary)
    elif not found.finished:
        print_safely(f"{out}: {summary['judged']} of {summary['videos']} videos judged; other processes have the rest")
    else:
        left = f", {summary['unreadable']} cannot be read" if summary["unreadable"] else ""
        print_safely(f"{out}: {summary['kept']} of {summary['videos']} videos kept{left}")
