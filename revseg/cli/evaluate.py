"""`revseg evaluate`: a model and a dataset in, a results file out."""

from pathlib import Path
from typing import Annotated, Any

import typer

from revseg.cli.guard import BUG, print_safely
from revseg.cli.options import AsJson, Frames, MaxNewTokens, Plan, Sampler, Tracker, Trust
from revseg.cli.policy import policy_for_footage
from revseg.errors import SpecError
from revseg.job import place_in_job
from revseg.policies.names import DEFAULT
from revseg.spec import parse_spec


def evaluate(
    dataset: Annotated[str, typer.Argument(help="Such as mevis or 'shapes:size=32'; see `revseg list dataset`.")],
    out: Annotated[Path, typer.Option(help="The results file to write, such as results.jsonl.")],
    root: Annotated[Path | None, typer.Option(help="The folder that holds the dataset.")] = None,
    policy: Annotated[
        str | None, typer.Option(help="The model that answers; see `revseg list policy`. May be left out for shapes.")
    ] = None,
    tracker: Tracker = "flow",
    plan: Plan = None,
    sampler: Sampler = None,
    frames: Frames = None,
    max_new_tokens: MaxNewTokens = None,
    trust: Trust = False,
    limit: Annotated[int | None, typer.Option(min=0, help="Only the first samples.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Samples per batch of the policy.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Processes. Under torchrun or SLURM, leave it at 1.")] = 1,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Conversations at a time with a served policy. Default: the policy's own.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Continue the results file, or start it anew.")
    ] = True,
    retry: Annotated[bool, typer.Option("--retry", help="Try samples again that crashed.")] = False,
    allow_crashes: Annotated[
        bool, typer.Option("--allow-crashes", help="End with exit code 0 even when samples crashed.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a model on a dataset, one row per query in a file.

    Run again after an interruption, it continues. Ends with exit code 1 when a sample crashed; the error is in its row.
    """
    from revseg.evaluation import evaluate as run
    from revseg.pipeline import ReVSeg
    from revseg.types import Sampling

    data = dataset_spec(dataset, root)
    policy = _policy(policy, parse_spec(dataset)[0])
    specs: dict[str, Any] = {"policy": policy, "tracker": tracker, "plan": plan, "sampler": sampler}
    model = ReVSeg(sampling=Sampling(max_new_tokens=max_new_tokens), num_frames=frames, trust=trust, **specs)
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
    share = place_in_job(arrays=True)
    part = f", this was {share}" if share.world > 1 and workers == 1 and not summary["finished"] else ""
    print_safely(summary if as_json else f"{out}: {_summary_line(summary)}{part}")
    if summary["crashed"] and not allow_crashes:
        raise typer.Exit(BUG)


def dataset_spec(spec: str, root: Path | None) -> Any:
    """The dataset with its folder. SpecError where the root is missing, or given twice."""
    from revseg.registry import options_of, registry

    name, options = parse_spec(spec)
    if root is None:
        known = {} if ":" in name else options_of(registry("dataset").get(name))
        needed = "root" in known and known["root"].default is known["root"].empty
        if needed and "root" not in options:
            raise SpecError(f"{name} is read from a folder: give it with --root")
        return spec
    if "root" in options:
        raise SpecError(f"the root is given twice: in {spec!r} and as --root {root}")
    return {"name": name, "root": str(root), **options}


def _policy(asked: str | None, dataset: str) -> str:
    """The policy asked for; on `shapes` the bundled one by default. SpecError where there is no default."""
    return DEFAULT if asked is None and dataset == "shapes" else policy_for_footage(asked, box=False)


def _summary_line(summary: dict[str, Any]) -> str:
    parts = [f"{summary['rows']} of {summary['samples']} rows"]
    parts += [f"{times} x {kind}" for kind, times in summary["failures"].items()]
    parts += [f"{summary['cut_off']} with a reply cut off at the token limit"] if summary["cut_off"] else []
    return ", ".join(parts)
