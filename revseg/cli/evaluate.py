"""The commands that measure: evaluate, score, rescore, compare, submit. Thin: each calls into `revseg.evaluation`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from revseg.cli.guard import BUG, AsJson, Trust, print_safely
from revseg.cli.prompts import policy_for_footage
from revseg.errors import SpecError
from revseg.policies.names import DEFAULT
from revseg.spec import parse_spec

Protocol = Annotated[str | None, typer.Option(help="How to score. Default: as the dataset does, else generic.")]
Missing = Annotated[str, typer.Option(help="What a missing prediction is worth: zero, skip (left out) or error.")]


def evaluate(
    dataset: Annotated[str, typer.Argument(help="A dataset, such as mevis or 'shapes:size=32'; see `revseg list`.")],
    out: Annotated[Path, typer.Option(help="The results file to write, such as results.jsonl.")],
    root: Annotated[Path | None, typer.Option(help="Where the dataset lies, for those that are on disk.")] = None,
    policy: Annotated[
        str | None,
        typer.Option(help="The part that answers. Needed for all but shapes, where the bundled one answers."),
    ] = None,
    tracker: Annotated[str, typer.Option(help="The part that follows.")] = "flow",
    plan: Annotated[
        str | None, typer.Option(help="What is asked, such as per_object. Default: what the policy knows.")
    ] = None,
    sampler: Annotated[str | None, typer.Option(help="How frames are chosen. Default: what the policy knows.")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="How many frames the policy sees.")] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Most tokens of a reply. Default: what the policy knows, else 512.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=0, help="Only the first samples.")] = None,
    resume: Annotated[bool, typer.Option("--resume/--no-resume", help="Continue the file, or start over.")] = True,
    retry: Annotated[bool, typer.Option("--retry", help="Try samples that crashed again.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes; under torchrun leave it at 1.")] = 1,
    batch: Annotated[int, typer.Option(min=1, help="Samples asked about at a time.")] = 1,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Conversations at a time with a served policy. Default: what it says.")
    ] = None,
    allow_crashes: Annotated[
        bool, typer.Option("--allow-crashes", help="End with 0 even when samples crashed.")
    ] = False,
    trust: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Runs a model on a dataset and writes one row per query. Interrupted and run again, it continues.

    Ends with 1 when a sample crashed: its row holds the error.
    """
    from revseg.evaluation import evaluate as run
    from revseg.pipeline import ReVSeg
    from revseg.types import Sampling

    data = _dataset(dataset, root)
    policy = _policy(policy, parse_spec(dataset)[0])
    sampling = Sampling(max_new_tokens=max_new_tokens)
    specs: dict[str, Any] = {"policy": policy, "tracker": tracker, "plan": plan, "sampler": sampler}
    model = ReVSeg(sampling=sampling, num_frames=frames, trust=trust, **specs)
    results = run(
        model,
        data,
        out,
        limit=limit,
        resume=resume,
        workers=workers,
        batch=batch,
        concurrency=concurrency,
        retry=retry,
    )
    summary = results.summary()
    print_safely(summary if as_json else f"{out}: {_told(summary)}")
    if summary["crashed"] and not allow_crashes:
        raise typer.Exit(BUG)


def score(
    file: Annotated[Path, typer.Argument(help="A results file.")],
    protocol: Protocol = None,
    missing: Missing = "zero",
    robustness: Annotated[str | None, typer.Option(help="For revos: paper, legacy_01 or legacy_255.")] = None,
    accuracy: Annotated[str | None, typer.Option(help="For revos, A likewise. Default: as --robustness.")] = None,
    rounding: Annotated[bool, typer.Option("--rounding/--no-rounding", help="For revos: as the official code.")] = True,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the table by type as CSV.")] = False,
    queries: Annotated[Path | None, typer.Option(help="Write the table of single queries as CSV here.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace that table.")] = False,
) -> None:
    """Scores a results file: J, F, J&F and what else its benchmark defines, with 95% intervals."""
    from revseg import output
    from revseg.evaluation import Results
    from revseg.evaluation import score as run

    options: dict[str, Any] = {} if robustness is None else {"robustness": robustness}
    if accuracy is not None:
        options["accuracy"] = accuracy
    if not rounding:
        options["rounding"] = False
    kind: Any = missing
    if queries is not None:
        output.check_file(queries, overwrite=overwrite)
    scores = run(Results.open(file), protocol, missing=kind, **options)
    if queries is not None:
        output.write_text(queries, scores.query_csv(), overwrite=overwrite)
    print_safely(scores.to_dict() if as_json else scores.group_csv().rstrip("\n") if as_csv else scores.text())


def rescore(
    file: Annotated[Path, typer.Argument(help="A results file.")],
    reward: Annotated[
        list[str] | None,
        typer.Option(help="A reward (spatial:soft=True, weight 1) or a preset. Repeatable. Default: the file's."),
    ] = None,
    parser: Annotated[
        list[str] | None,
        typer.Option(metavar="ROUND=PARSER", help="Read a round's replies again: 2=box_json. Repeatable."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the rows, judged again, as a results file here.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace that file.")] = False,
    trust: Annotated[bool, typer.Option("--trust", help="Let the rewards that the file names be code.")] = False,
    as_json: AsJson = False,
) -> None:
    """Judges saved conversations again, without a model: each reward's mean now and before.

    A round is given by its name or its number, from 1.
    """
    from revseg.evaluation import rescore as run
    from revseg.rewards import PRESETS

    rewards: Any = None
    if reward:
        rewards = reward[0] if len(reward) == 1 and reward[0] in PRESETS else dict.fromkeys(reward, 1.0)
    parsers = dict(_round_and_parser(text) for text in parser or [])
    found = run(file, rewards, parsers, out=out, overwrite=overwrite, trust=trust)
    print_safely(found.to_dict() if as_json else found.text())


def compare(
    a: Annotated[Path, typer.Argument(help="The results file of one run.")],
    b: Annotated[Path | None, typer.Argument(help="The other's.")] = None,
    published: Annotated[
        bool, typer.Option("--published", help="Put one run beside the published figures instead.")
    ] = False,
    protocol: Protocol = None,
    missing: Missing = "zero",
    as_json: AsJson = False,
) -> None:
    """Compares two runs query by query: B minus A, with 95% intervals, and how many queries got better or worse.

    With --published, one run with the published figures made the same way, and why the others were not.
    """
    from revseg.evaluation import Results
    from revseg.evaluation import compare as run

    kind: Any = missing
    if (b is None) != published:
        raise SpecError("expected two results files, or one and --published")
    if b is None:
        from revseg.evaluation.published import beside_published

        beside = beside_published(Results.open(a), protocol, missing=kind)
        print_safely(beside.to_dict() if as_json else beside.text())
        return
    found = run(Results.open(a), Results.open(b), protocol, missing=kind)
    print_safely(found.to_dict() if as_json else found.text())


def submit(
    file: Annotated[Path, typer.Argument(help="A finished results file.")],
    format: Annotated[str, typer.Option("--format", help="mevis or ref_youtube_vos.")],
    out: Annotated[Path, typer.Option(help="The zip archive to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an archive that is there.")] = False,
) -> None:
    """Writes the archive that a benchmark's server takes, and checks it."""
    from revseg.evaluation import Results, write_submission

    path = write_submission(Results.open(file), out, format, overwrite=overwrite)
    print_safely(f"{path}: {path.stat().st_size / 2**20:.1f} MiB, checked")


def _dataset(spec: str, root: Path | None) -> Any:
    from revseg.registry import options_of, registry

    name, options = parse_spec(spec)
    if root is None:
        known = {} if ":" in name else options_of(registry("dataset").get(name))
        if "root" in known and "root" not in options:
            raise SpecError(f"{name} lies on a disk: say in which folder with --root")
        return spec
    if "root" in options:
        raise SpecError(f"the root is given twice: in {spec!r} and as --root {root}")
    return {"name": name, "root": str(root), **options}


def _round_and_parser(text: str) -> tuple[str, str]:
    name, equals, spec = text.partition("=")
    if not (name and equals and spec):
        raise SpecError(f"expected --parser as ROUND=PARSER, such as 2=box_json; got {text!r:.80}")
    return name, spec


def _policy(asked: str | None, dataset: str) -> str:
    """The policy asked for; on `shapes` the bundled one by default. SpecError where there is no default."""
    return DEFAULT if asked is None and dataset == "shapes" else policy_for_footage(asked, box=False)


def _told(summary: dict[str, Any]) -> str:
    parts = [f"{summary['rows']} of {summary['samples']} rows"]
    parts += [f"{times} x {kind}" for kind, times in summary["failures"].items()]
    parts += [f"{summary['cut_off']} with a reply cut off at the token limit"] if summary["cut_off"] else []
    return ", ".join(parts)
