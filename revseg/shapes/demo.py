"""`revseg demo`: the whole method on a short video that it renders itself, without a network."""

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

# From the test split, which no training script reads. The question cannot be answered from one frame.
WORLD = {"split": "test", "seed": 7, "frames": 40, "height": 336, "width": 336, "kinds": ["time"], "objects": [3, 4]}
INDEX = 5  # one that the bundled policy answers rightly, as it does most


@dataclass(frozen=True, eq=False)
class Demo:
    """What a demo did, and where its files lie."""

    folder: Path
    video: Video
    query: Query
    truth: MaskTrack
    result: Segmentation
    scores: Mapping[str, float]  # against the truth, in [0, 1]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: the reasoning record, and the folder."""
        return {"out": str(self.folder), **record_of(self.result, self.video, self.scores)}

    def text(self) -> str:
        """What the command prints."""
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
    """Renders an mp4, asks about it, tracks, scores against the known truth, and writes `folder`.

    The folder of an earlier demo is replaced. Raises OutputError for any other folder that exists and is not empty.
    """
    from revseg.masks.metrics import j_and_f
    from revseg.output import check_folder
    from revseg.shapes.dataset import Shapes, render_mp4

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
            warnings.simplefilter("ignore", FootageWarning)  # a file, but one that `shapes` painted
            result = model.segment(video, sample.query, truth=sample.truth, progress=progress)
        scores = {"J&F": j_and_f(result.masks, sample.truth).jf}
        options = {"truth": sample.truth, "scores": scores, "copy": {"input.mp4": source}, "progress": progress}
        saved = result.save(folder, video, overwrite=again, **options)
    return Demo(saved, Video.open(saved / "input.mp4"), sample.query, sample.truth, result, scores)


def is_demo(folder: str | Path) -> bool:
    """True for a folder that looks like an earlier demo's; `check_folder` sees whether it holds anything else."""
    path = Path(folder)
    return (path / "input.mp4").is_file() and (path / "reasoning.json").is_file()
