"""`revseg demo` and `revseg segment`: one video and one question in, masks and the reasoning out."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from revseg.cli.guard import UNREADABLE_REPLY, at_terminal, print_safely
from revseg.cli.options import AsJson, Frames, MaxNewTokens, Overwrite, Plan, Sampler, Tracker, Trust
from revseg.cli.policy import given, policy_for_footage
from revseg.errors import SpecError
from revseg.policies.names import DEFAULT


def demo(
    out: Annotated[Path, typer.Option(help="The folder to write.")] = Path("revseg-demo"),
    policy: Annotated[str, typer.Option(help="The model that answers; see `revseg list policy`.")] = DEFAULT,
    tracker: Tracker = "flow",
    as_json: AsJson = False,
) -> None:
    """Segment a rendered video with the bundled model; no network.

    Writes the video, masks and the reasoning. The folder of an earlier demo is replaced; any other is left alone.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # all that it needs is in the package
    from revseg.shapes.demo import run_demo

    shown = run_demo(out, policy=policy, tracker=tracker, progress=at_terminal())
    print_safely(shown.to_dict() if as_json else shown.text())
    _exit_for(shown.result.rollout.error)


def segment(
    video: Annotated[str, typer.Argument(help="A video file, or a folder of numbered JPEG or PNG frames.")],
    query: Annotated[str, typer.Argument(help="What to find, for example 'the dog that jumps first'.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    policy: Annotated[
        str | None, typer.Option(help="The model that answers; see `revseg list policy`. Not needed with --box.")
    ] = None,
    tracker: Tracker = "flow",
    plan: Plan = None,
    sampler: Sampler = None,
    frames: Frames = None,
    max_new_tokens: MaxNewTokens = None,
    trust: Trust = False,
    keyframe: Annotated[
        list[int] | None, typer.Option(help="The frame of a --box, from 0: one for all boxes, or one for each.")
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(
            metavar="X1,Y1,X2,Y2", help="A box to track, in pixels, or in fractions if no number exceeds 1. Repeatable."
        ),
    ] = None,
    same_object: Annotated[
        bool, typer.Option("--same-object", help="All boxes are of one object, on several frames.")
    ] = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Segment what a query asks for in one video.

    Writes masks for every frame, an overlay video and the reasoning as a page.
    """
    from revseg.output import check_folder
    from revseg.pipeline import ReVSeg
    from revseg.report import record_of
    from revseg.types import Sampling
    from revseg.video import Video

    check_folder(out, overwrite=overwrite)
    opened = Video.open(video)
    if box and policy in (None, "given"):
        if sampler or frames or plan:
            raise SpecError("with --box no model is asked: leave out --plan, --sampler and --frames")
        settings = given(box, keyframe or [], opened, query, same_object)
    elif box or keyframe or same_object:
        raise SpecError("--keyframe and --same-object need a --box, and --box goes with no other policy than given")
    else:
        policy = policy_for_footage(policy, box=True)
        settings = {"policy": policy, "plan": plan, "sampler": sampler, "num_frames": frames}
    sampling = Sampling(max_new_tokens=max_new_tokens)
    model = ReVSeg(tracker=tracker, sampling=sampling, trust=trust, **settings)
    result = model.segment(opened, query, progress=at_terminal())
    result.save(out, opened, overwrite=overwrite, progress=at_terminal())
    text = f"{_outcome(result)}\nreasoning: {out}/reasoning.html\noverlay: {out}/overlay.mp4"
    print_safely({"out": str(out), **record_of(result, opened)} if as_json else text)
    _exit_for(result.rollout.error)


def _outcome(result: Any) -> str:
    if result.status == "absent":
        return "the model says that the target is not in the video: the masks are empty"
    if result.rollout.error is not None:
        detail = result.rollout.detail
        return f"the reply could not be read ({result.rollout.error}; {detail}): the masks are empty"
    masks = result.masks
    return f"{masks.objects} object{'s' * (masks.objects != 1)}, on {int(masks.visible.sum())} of {len(masks)} frames"


def _exit_for(error: str | None) -> None:
    """End with an exit code of its own when the conversation failed."""
    if error is not None:
        raise typer.Exit(UNREADABLE_REPLY)
