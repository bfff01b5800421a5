"""The command line. Thin: each command is one call into the library.

Exit codes: 0 done, "the target is not in the video" included; 1 a bug, or a part that broke its contract; 2 wrong
usage, an unknown part among it; 3 an input that cannot be read or an output that cannot be written; 4 a reply of the
model could not be read (the results are written all the same, with empty masks).
"""

import io
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from revseg import __version__
from revseg.cli_data import app as data_app
from revseg.cli_evaluate import register_commands as register_evaluation
from revseg.cli_list import describe, listing
from revseg.cli_prompts import given
from revseg.cli_report import register_commands as register_reports
from revseg.cli_train import Trust
from revseg.cli_train import register_command as register_training
from revseg.errors import PartError, RevsegError, SpecError
from revseg.output import is_full

BUG, USAGE, BAD_INPUT, UNREADABLE_REPLY = 1, 2, 3, 4

app = typer.Typer(
    help="Reasoning video segmentation: a video and a question in, masks and a readable reasoning chain out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
app.add_typer(data_app, name="data")
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]


def _print_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"revseg {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="The folder to write.")] = Path("revseg-demo"),
    policy: Annotated[str, typer.Option(help="The part that answers; see `revseg list policy`.")] = "qwen",
    tracker: Annotated[str, typer.Option(help="The part that follows; see `revseg list tracker`.")] = "flow",
    as_json: AsJson = False,
) -> None:
    """Renders a short video, asks about it, and leaves masks and the reasoning to look at. Needs no network.

    The folder of an earlier demo is replaced; any other folder is left alone.
    """
    with _clean_errors():
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # all of it is in the package: nothing may wait for a network
        from revseg.demo import run_demo

        shown = run_demo(out, policy=policy, tracker=tracker, progress=_at_terminal())
        typer.echo(json.dumps(shown.to_dict(), indent=2) if as_json else shown.text())
        _leave(shown.result.rollout.error)


@app.command()
def segment(
    video: Annotated[str, typer.Argument(help="A video file, or a folder of numbered JPEG or PNG frames.")],
    query: Annotated[str, typer.Argument(help="What to find, for example 'the dog that jumps first'.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    policy: Annotated[str | None, typer.Option(help="The part that answers. Needed without --box.")] = None,
    tracker: Annotated[str, typer.Option(help="The part that follows, such as flow or sam2.")] = "flow",
    plan: Annotated[
        str | None, typer.Option(help="What is asked, such as per_object. Default: what the policy knows.")
    ] = None,
    sampler: Annotated[str | None, typer.Option(help="How frames are chosen. Default: what the policy knows.")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="How many frames the policy sees.")] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Most tokens of a reply. Default: what the policy knows, else 512.")
    ] = None,
    keyframe: Annotated[
        list[int] | None, typer.Option(help="Frame of a --box, from 0. One for all boxes, or one for each.")
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(
            metavar="X1,Y1,X2,Y2", help="A box to follow: pixels, or fractions if none exceeds 1. Repeatable."
        ),
    ] = None,
    same_object: Annotated[
        bool, typer.Option("--same-object", help="All boxes show one object, and correct one another.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the results of an earlier run.")] = False,
    trust: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Segments what the query asks for, through the whole video, and writes masks, an overlay and the reasoning."""
    with _clean_errors():
        from revseg.footage import policy_for_footage
        from revseg.output import check_folder
        from revseg.pipeline import ReVSeg
        from revseg.report import record_of
        from revseg.types import Sampling
        from revseg.video import Video

        check_folder(out, overwrite=overwrite)
        opened = Video.open(video)
        if box and policy in (None, "given"):
            if sampler or frames or plan:
                raise SpecError("--box is the whole answer: leave out --plan, --sampler and --frames")
            settings = given(box, keyframe or [], opened, query, same_object)
        elif box or keyframe or same_object:
            raise SpecError(
                "--box, with its --keyframe and --same-object, is the answer of --policy given: --box first"
            )
        else:
            policy = policy_for_footage(policy, box=True)
            settings = {"policy": policy, "plan": plan, "sampler": sampler, "num_frames": frames}
        sampling = Sampling(max_new_tokens=max_new_tokens)
        model = ReVSeg(tracker=tracker, sampling=sampling, trust=trust, **settings)
        result = model.segment(opened, query, progress=_at_terminal())
        result.save(out, opened, overwrite=overwrite, progress=_at_terminal())
        if as_json:
            typer.echo(json.dumps({"out": str(out), **record_of(result, opened)}, indent=2, default=str))
        else:
            typer.echo(f"{_verdict(result)}\n{out}/reasoning.html tells how; {out}/overlay.mp4 shows it")
        _leave(result.rollout.error)


@app.command("list")
def list_parts(
    kind: Annotated[str | None, typer.Argument(help="policy, tracker, reward, ...; all kinds by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Lists the parts there are: name, what it does, its options and their defaults."""
    with _clean_errors():
        found = describe(kind)
        typer.echo(json.dumps(found, indent=2) if as_json else listing(found))


def main() -> None:
    """The entry point of the `revseg` command. No terminal's encoding, and no full disk behind it, loses a result."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except OSError as error:
        if not is_full(error):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left to print has nowhere to go
        typer.echo(f"revseg: cannot write the output: {error.strerror or error}", err=True)
        sys.exit(BAD_INPUT)


def _verdict(result: Any) -> str:
    if result.status == "absent":
        return "not in the video, says the model: the masks are empty"
    if result.rollout.error is not None:
        detail = result.rollout.detail
        return f"the reply could not be read ({result.rollout.error}; {detail}): the masks are empty"
    masks = result.masks
    return f"{masks.objects} object{'s' * (masks.objects != 1)}, on {int(masks.visible.sum())} of {len(masks)} frames"


def _leave(error: str | None) -> None:
    if error is not None:
        raise typer.Exit(UNREADABLE_REPLY)


@contextmanager
def _clean_errors() -> Iterator[None]:
    """A user's error and every warning meant for the user as one line on stderr; a bug keeps its traceback."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _one_line(warnings.showwarning)
            yield
    except RevsegError as error:
        typer.echo(f"revseg: {' '.join(str(error).split())}", err=True)
        code = USAGE if isinstance(error, SpecError) else BUG if isinstance(error, PartError) else BAD_INPUT
        raise typer.Exit(code) from error


def _one_line(show: Callable[..., None]) -> Callable[..., None]:
    """Warnings of the user's kind without the place in the code, which says nothing on a command line."""

    def shown(message: Any, category: Any, *place: Any, **more: Any) -> None:
        if issubclass(category, UserWarning):
            typer.echo(f"revseg: warning: {' '.join(str(message).split())}", err=True)
        else:
            show(message, category, *place, **more)

    return shown


def _at_terminal() -> bool:
    return sys.stderr.isatty()


register_evaluation(app, _clean_errors)
register_reports(app, _clean_errors)
register_training(app, _clean_errors)
