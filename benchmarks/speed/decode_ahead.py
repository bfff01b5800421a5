"""Clips of a GRPO step: what decoding them costs, how much of it a thread hides, and what a cache on disk saves.

    python benchmarks/speed/decode_ahead.py --out benchmarks/results/speed/decode_ahead.json

Videos are H.264 of 1280x720, 240 frames (10 s), as `write_video` makes them: one key frame at the start, so that most
of a file is decoded for 16 uniform frames. The policy is a stand-in that waits, as a process does whose GPU generates,
for `--slack` times as long as a batch's clips take to decode.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import measure
import numpy as np

from revseg.clip_cache import CachedSampler
from revseg.samplers import uniform
from revseg.training.ahead import Ahead
from revseg.types import Clip, Query
from revseg.video import Video
from revseg.video.writing import write_video

QUERY = Query("q", "the one that moves")


def textured(frames: int, size: tuple[int, int], seed: int, grain: int) -> Iterator[np.ndarray]:
    """A picture of random squares that moves, with noise of `grain` grey levels."""
    h, w = size
    noise = np.random.default_rng(seed)
    coarse = noise.integers(0, 256, (h // 8 + 40, w // 8 + 40, 3), np.uint8)
    picture = np.kron(coarse, np.ones((8, 8, 1), np.uint8))
    for number in range(frames):
        view = picture[number : number + h, number : number + w].astype(np.int16)
        yield np.clip(view + noise.integers(-grain, grain + 1, (h, w, 1)), 0, 255).astype(np.uint8)


def wait(decode: Callable[[int], Clip], clips: int, batch: int, generate: float, ahead: int) -> tuple[float, int]:
    """Seconds of wall time that the policy waits for clips, and a checksum of them."""
    waited, total = 0.0, 0
    with Ahead(decode, iter(range(clips)), ahead) as starts:
        time.sleep(generate if ahead else 0)  # the step before, while which the first clips are decoded
        for _ in range(clips // batch):
            began = time.perf_counter()
            found = starts.take(batch)
            waited += time.perf_counter() - began
            time.sleep(generate)
            total += sum(int(clip.frames[:, ::97, ::89].sum()) for clip in found)
    return waited, total


def main() -> None:
    parser = measure.arguments(__doc__)
    parser.add_argument("--clips", type=int, default=128)
    parser.add_argument("--videos", type=int, default=8, help="different ones; each is asked about several times")
    parser.add_argument("--waits", type=int, default=32, help="clips of the part with a policy")
    parser.add_argument("--grain", type=int, default=4, help="4: 0.5 Mbit/s, easier than footage; 16: 19, harder")
    parser.add_argument("--slack", type=float, default=1.5)
    asked = parser.parse_args()
    frames, size = (24, (72, 128)) if asked.small else (240, (720, 1280))
    count, videos, waits = (8, 2, 8) if asked.small else (asked.clips, asked.videos, asked.waits)
    with tempfile.TemporaryDirectory() as root:
        paths = [Path(root) / f"{number}.mp4" for number in range(videos)]
        for number, path in enumerate(paths):
            write_video(path, textured(frames, size, number, asked.grain), 24.0)
        print(f"{videos} videos of {sum(p.stat().st_size for p in paths) / videos / 1e6:.1f} MB each", flush=True)
        measure.report(rows_of(paths, count, waits, asked.slack, Path(root) / "cache"), asked.out)


def rows_of(paths: list[Path], count: int, waits: int, slack: float, cache: Path) -> list[dict[str, Any]]:
    """One row for decoding, one for the thread, one for the cache."""

    def decode(index: int) -> Clip:
        return uniform(Video.open(paths[index % len(paths)]), QUERY, 16)

    decode(0)
    began, wall = time.process_time(), time.perf_counter()
    for index in range(count):
        decode(index)
    cpu, wall = time.process_time() - began, time.perf_counter() - wall
    rows: list[dict[str, Any]] = [
        {"what": f"decoding {count} clips of 16 frames", "cpu_s": cpu, "wall_s": wall, "cpu_s_per_clip": cpu / count}
    ]
    batch = 4
    generate = slack * batch * wall / count
    (plain, one), (hidden, two) = (wait(decode, waits, batch, generate, ahead) for ahead in (0, 32))
    rows += [
        {
            "what": f"{waits} clips in batches of {batch}, {generate:.2f} s of generation for each",
            "waited_s": plain,
            "waited_with_prefetch_s": hidden,
            "hidden": 1 - hidden / plain,
            "equal": one == two,
        }
    ]
    sampler = CachedSampler(path=cache)
    kept = [sampler(Video.open(path), QUERY, 16) for path in paths]
    found = measure.take_turns(
        lambda: [sampler(Video.open(path), QUERY, 16) for path in paths[:2]],
        lambda: [decode(index) for index in range(2)],
        turns=1 if count < 16 else 5,
    )
    equal = all(np.array_equal(clip.frames, decode(index).frames) for index, clip in enumerate(kept))
    rows += [{"what": "a clip from the cache on a local disk", **measure.per(found, 2), "equal": equal}]
    return rows


if __name__ == "__main__":
    main()
