"""`revseg rows` and `revseg verl-command`: what verl needs to train with revseg."""

from pathlib import Path
from typing import Annotated

import typer

from revseg.cli.guard import print_safely
from revseg.cli.options import Overwrite, Trust
from revseg.cli.train import Changes, read_settings


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


def verl_command(
    config: Annotated[Path, typer.Argument(help="The TOML file of `revseg train`.")],
    rows: Annotated[Path, typer.Option(help="The parquet file that `revseg rows` wrote.")],
    out: Annotated[Path, typer.Option(help="The run's folder.")],
    changes: Changes = None,
    gpus: Annotated[int, typer.Option(min=1, help="GPUs of each node.")] = 8,
    nodes: Annotated[int, typer.Option(min=1, help="Nodes of the Ray cluster.")] = 1,
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of the first question with its clip.")] = 3072,
    response_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of all that follows.")] = 3072,
    trust: Trust = False,
) -> None:
    """Print the command that trains the same run with verl.

    A setting that verl cannot follow is refused. The dataset of the file is not read: the rows are.
    """
    from revseg.integrations.verl.command import Machines, command, overrides
    from revseg.pipeline import ReVSeg
    from revseg.training.config import TrainConfig

    settings = read_settings(config, changes or [])
    # the user wrote the configuration, so it is trusted; the checkpoint that it names is not
    model = ReVSeg.from_dict({**settings["model"], **({"trust": True} if trust else {})}, trust=True)
    run = TrainConfig.from_dict(settings["train"], trust=True)
    machines = Machines(gpus, nodes, prompt_tokens, response_tokens)
    print_safely(command(overrides(model, run, rows, out, machines)))
