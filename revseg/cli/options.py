"""Options that several commands have."""

from typing import Annotated, Literal

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Trust = Annotated[bool, typer.Option("--trust", help="Allow code in the settings that the policy's checkpoint names.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]

Tracker = Annotated[str, typer.Option(help="The tracker, such as sam2; see `revseg list tracker`.")]
Plan = Annotated[
    str | None, typer.Option(help="The rounds of questions, such as per_object. Default: the policy's own.")
]
Sampler = Annotated[str | None, typer.Option(help="How frames are chosen, such as fps. Default: the policy's own.")]
Frames = Annotated[
    int | None, typer.Option(min=1, help="How many frames the policy sees. Default: the policy's own, else 16.")
]
MaxNewTokens = Annotated[
    int | None, typer.Option(min=1, help="Most tokens per reply. Default: the policy's own, else 512.")
]

Protocol = Annotated[str | None, typer.Option(help="How to score. Default: the dataset's own, else generic.")]
Missing = Annotated[
    Literal["zero", "skip", "error"],
    typer.Option(help="What a missing prediction means: zero, left out, an error."),
]
