"""The commands that read results files: score, rescore, compare, submit."""

from pathlib import Path
from typing import Annotated, Any

import typer

from revseg.cli.guard import print_safely
from revseg.cli.options import AsJson, Missing, Overwrite, Protocol
from revseg.errors import SpecError


def score(
    file: Annotated[Path, typer.Argument(help="A results file.")],
    protocol: Protocol = None,
    missing: Missing = "zero",
    robustness: Annotated[
        str | None, typer.Option(help="For revos: how R is computed, paper, legacy_01 or legacy_255.")
    ] = None,
    accuracy: Annotated[str | None, typer.Option(help="For revos: the same for A. Default: as --robustness.")] = None,
    rounding: Annotated[
        bool, typer.Option("--rounding/--no-rounding", help="For revos: round as the official code does.")
    ] = True,
    queries: Annotated[Path | None, typer.Option(help="Write one row per query to this CSV file.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace that CSV file.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the table as CSV.")] = False,
    as_json: AsJson = False,
) -> None:
    """Score a results file: J, F, J&F and what its benchmark adds.

    Prints percent, with 95% bootstrap intervals over videos.
    """
    from revseg import output
    from revseg.evaluation import Results
    from revseg.evaluation import score as run

    options: dict[str, Any] = {} if robustness is None else {"robustness": robustness}
    if accuracy is not None:
        options["accuracy"] = accuracy
    if not rounding:
        options["rounding"] = False
    if queries is not None:
        output.check_file(queries, overwrite=overwrite)
    scores = run(Results.open(file), protocol, missing=missing, **options)
    if queries is not None:
        output.write_text(queries, scores.query_csv(), overwrite=overwrite)
    print_safely(scores.to_dict() if as_json else scores.group_csv().rstrip("\n") if as_csv else scores.text())


def rescore(
    file: Annotated[Path, typer.Argument(help="A results file.")],
    reward: Annotated[
        list[str] | None,
        typer.Option(help="A reward, such as spatial:soft=True, or a preset. Repeatable. Default: the file's."),
    ] = None,
    parser: Annotated[
        list[str] | None,
        typer.Option(metavar="ROUND=PARSER", help="Parse a round's replies again, such as 2=box_json. Repeatable."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the changed rows to this results file.")] = None,
    overwrite: Overwrite = False,
    trust: Annotated[bool, typer.Option("--trust", help="Allow code in the rewards that the file names.")] = False,
    as_json: AsJson = False,
) -> None:
    """Apply other rewards or parsers to saved conversations.

    Needs no model. Prints each reward's mean now and before. A round is its name or its number, from 1.
    """
    from revseg.evaluation import rescore as run
    from revseg.rewards import PRESETS

    rewards: Any = None
    if reward:
        rewards = reward[0] if len(reward) == 1 and reward[0] in PRESETS else dict.fromkeys(reward, 1.0)
    parsers = dict(_round_and_parser(text) for text in parser or [])
    rescored = run(file, rewards, parsers, out=out, overwrite=overwrite, trust=trust)
    print_safely(rescored.to_dict() if as_json else rescored.text())


def compare(
    a: Annotated[Path, typer.Argument(help="The results file of run A.")],
    b: Annotated[Path | None, typer.Argument(help="The results file of run B.")] = None,
    published: Annotated[
        bool, typer.Option("--published", help="Compare A with published figures instead of B.")
    ] = False,
    protocol: Protocol = None,
    missing: Missing = "zero",
    as_json: AsJson = False,
) -> None:
    """Compare two runs, or one run with published figures.

    Prints B minus A with 95% intervals, and how many queries are better, equal and worse. With --published, prints the
    figures that are comparable, and why the others are not.
    """
    from revseg.evaluation import Results
    from revseg.evaluation import compare as run

    if (b is None) != published:
        raise SpecError("expected two results files, or one and --published")
    if b is None:
        from revseg.evaluation.beside_published import beside_published

        beside = beside_published(Results.open(a), protocol, missing=missing)
        print_safely(beside.to_dict() if as_json else beside.text())
        return
    comparison = run(Results.open(a), Results.open(b), protocol, missing=missing)
    print_safely(comparison.to_dict() if as_json else comparison.text())


def submit(
    file: Annotated[Path, typer.Argument(help="A finished results file.")],
    format: Annotated[str, typer.Option("--format", help="The benchmark: mevis or ref_youtube_vos.")],
    out: Annotated[Path, typer.Option(help="The zip archive to write.")],
    overwrite: Overwrite = False,
) -> None:
    """Write the archive for a benchmark's server, and check it."""
    from revseg.evaluation import Results, write_submission

    path = write_submission(Results.open(file), out, format, overwrite=overwrite)
    print_safely(f"{path}: {path.stat().st_size / 2**20:.1f} MiB, checked")


def _round_and_parser(text: str) -> tuple[str, str]:
    name, equals, spec = text.partition("=")
    if not (name and equals and spec):
        raise SpecError(f"expected --parser as ROUND=PARSER, such as 2=box_json; got {text!r:.80}")
    return name, spec
