"""Reading 16 of 3,000 frames of a file with a key frame every 30: against decoding from the start.

    python benchmarks/speed/video_read.py --out benchmarks/results/speed/video_read.json

H.264, 320x240. The baseline decodes every frame up to the last one asked for, and turns only
those asked for into RGB, as we do. Both open the file; for ours that is also where its packets are listed.
"""

import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import measure
import numpy as np

from revseg.video import Video


def write(path: Path, frames: int, every: int) -> None:
    """A thing moves before a background that pans, with a key frame every so many frames."""
    waves = np.add.outer(np.sin(np.arange(240) / 9), np.sin(np.arange(6400) / 7 + np.sin(np.arange(6400) / 50)))
    world = np.stack([110 + 40 * waves, 120 + 30 * waves, 100 - 35 * waves], -1).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=Fraction(30), options={"preset": "veryfast"})
        stream.height, stream.width, stream.pix_fmt = 240, 320, "yuv420p"
        stream.codec_context.gop_size = every
        stream.codec_context.thread_count = 1
        for t in range(frames):
            picture = world[:, 2 * t % 6000 :][:, :320].copy()
            left = 3 * t % 260
            picture[60:140, left : left + 60] = (230, 60, 40)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def from_the_start(path: Path, asked: np.ndarray) -> np.ndarray:
    wanted, found = set(asked.tolist()), []
    with av.open(str(path)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index in wanted:
                found.append(frame.to_ndarray(format="rgb24"))
                if len(found) == len(wanted):
                    break
    return np.stack(found)


def main() -> None:
    given = measure.arguments(__doc__).parse_args()
    length, turns = (60, 1) if given.small else (3000, 5)
    asked = np.linspace(0, length - 1, 16).astype(int)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for every in (12, 30, 60):
            path = Path(folder) / f"every{every}.mp4"
            write(path, length, every)
            video = Video.open(path)
            equal = bool((video.read(asked) == from_the_start(path, asked)).all())
            for what, ours in (
                ("open file", lambda video=video: video.read(asked)),
                ("opening included", lambda path=path: Video.open(path).read(asked)),
            ):
                times = measure.take_turns(ours, lambda path=path: from_the_start(path, asked), turns=turns)
                what = f"reading 16 of {length} frames, a key frame every {every}, {what}"
                rows.append({"what": what, **times, "equal": equal, "target": 10})
    measure.report(rows, given.out)


if __name__ == "__main__":
    main()
