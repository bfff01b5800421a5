"""`revseg demo` and `revseg segment`: one video and one question in, masks and a readable reasoning chain out."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from revseg.cli.guard import UNREADABLE_REPLY, AsJson, Trust, at_terminal
from revseg.cli.prompts import given, policy_for_footage
from revseg.errors import SpecError
from revseg.policies.names import DEFAULT


def demo(
    out: Annotated[Path, typer.Option(help="The folder to write.")] = Path("revseg-demo"),
    policy: Annotated[str, typer.Option(help="The part that answers; see `revseg list policy`.")] = DEFAULT,
    tracker: Annotated[str, typer.Option(help="The part that follows; see `revseg list tracker`.")] = "flow",
    as_json: AsJson = False,
) -> None:
    """Renders a short video, asks about it, and leaves masks and the reasoning to look at. Needs no network.

    The folder of an earlier demo is replaced; any other folder is left alone.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # all of it is in the package: nothing may wait for a network
    from revseg.shapes.demo import run_demo

    shown = run_demo(out, policy=policy, tracker=tracker, progress=at_terminal())
    typer.echo(json.dumps(shown.to_dict(), indent=2) if as_json else shown.text())
    leave_for(shown.result.rollout.error)


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
        raise SpecError("--box, with its --keyframe and --same-object, is the answer of --policy given: --box first")
    else:
        policy = policy_for_footage(policy, box=True)
        settings = {"policy": policy, "plan": plan, "sampler": sampler, "num_frames": frames}
    sampling = Sampling(max_new_tokens=max_new_tokens)
    model = ReVSeg(tracker=tracker, sampling=sampling, trust=trust, **settings)
    result = model.segment(opened, query, progress=at_terminal())
    result.save(out, opened, overwrite=overwrite, progress=at_terminal())
    if as_json:
        typer.echo(json.dumps({"out": str(out), **record_of(result, opened)}, indent=2, default=str))
    else:
        typer.echo(f"{_verdict(result)}\n{out}/reasoning.html tells how; {out}/overlay.mp4 shows it")
    leave_for(result.rollout.error)


def _verdict(result: Any) -> str:
    if result.status == "absent":
        return "not in the video, says the model: the masks are empty"
    if result.rollout.error is not None:
        detail = result.rollout.detail
        return f"the reply could not be read ({result.rollout.error}; {detail}): the masks are empty"
    masks = result.masks
    return f"{masks.objects} object{'s' * (masks.objects != 1)}, on {int(masks.visible.sum())} of {len(masks)} frames"


def leave_for(error: str | None) -> None:
    """Ends with an exit code of its own where a conversation failed."""
    if error is not None:
        raise typer.Exit(UNREADABLE_REPLY)
