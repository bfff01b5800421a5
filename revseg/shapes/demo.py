"""`revseg demo`: the whole method on a short rendered video, without a network."""

import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from revseg.errors import FootageWarning
from revseg.masks import MaskTrack
from revseg.pipeline import ReVSeg, Segmentation
from revseg.progress import waiting
from revseg.report.conversation import split_thinking
from revseg.serialise import record_of
from revseg.types import Query
from revseg.video import Video

# From the test split, which no training reads. The question cannot be answered from one frame.
WORLD = {"split": "test", "seed": 7, "frames": 40, "height": 336, "width": 336, "kinds": ["time"], "objects": [3, 4]}
INDEX = 5  # one of those that the bundled policy answers correctly, as it does most


@dataclass(frozen=True, eq=False)
class Demo:
    """The result of a demo, and the folder with its files."""

    folder: Path
    video: Video
    query: Query
    truth: MaskTrack
    result: Segmentation
    scores: Mapping[str, float]  # against the truth, in [0, 1]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: the folder and the reasoning record."""
        return {"out": str(self.folder), **record_of(self.result, self.video, self.scores)}

    def text(self) -> str:
        """The result as the command prints it."""
        lines = [f"question  {self.query.text}"]
        for number, turn in enumerate(self.result.rollout.turns, 1):
            thinking, answer = split_thinking(turn.reply.text)
            lines += [f"round {number}", f"  thinking  {thinking}"] if thinking else [f"round {number}"]
            lines.append(f"  answer    {answer}")
        figures = ", ".join(f"{name} {value:.2f}" for name, value in self.scores.items())
        lines += [f"result    {self.result.status}; against the known truth: {figures}", ""]
        lines += [f"{self.folder}/reasoning.html   the whole chain, to open in a browser"]
        lines += [f"{self.folder}/overlay.mp4      the masks on the video"]
        return "\n".join(lines)


def run_demo(folder: str | Path, *, policy: Any = "qwen", tracker: Any = "flow", progress: bool = False) -> Demo:
    """Render an mp4, ask about it, track, score against the known truth, and write everything to `folder`.

    An earlier demo's folder is replaced. OutputError for any other folder that exists and is not empty.
    """
    from revseg.masks.metrics import j_and_f
    from revseg.output import check_folder
    from revseg.shapes.dataset import Shapes
    from revseg.shapes.samples import render_mp4

    again = is_demo(folder)
    check_folder(folder, overwrite=again)
    sample = Shapes(size=INDEX + 1, **WORLD)[INDEX]
    assert sample.truth is not None
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "input.mp4"
        render_mp4(sample, source)
        video = Video.open(source)
        with waiting("loading the model", show=progress):
            model = ReVSeg(policy=policy, tracker=tracker).resolved()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FootageWarning)  # the video is a file, but of the synthetic world
            result = model.segment(video, sample.query, truth=sample.truth, progress=progress)
        scores = {"J&F": j_and_f(result.masks, sample.truth).jf}
        options = {"truth": sample.truth, "scores": scores, "copy": {"input.mp4": source}, "progress": progress}
        saved = result.save(folder, video, overwrite=again, **options)
    return Demo(saved, Video.open(saved / "input.mp4"), sample.query, sample.truth, result, scores)


def is_demo(folder: str | Path) -> bool:
    """Whether a folder looks like an earlier demo's. `check_folder` makes sure that nothing else is in it."""
    path = Path(folder)
    return (path / "input.mp4").is_file() and (path / "reasoning.json").is_file()
