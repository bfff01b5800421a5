"""Clips on disk: the same pixels, never those of another video or sampler, bounded, and safe from damage."""

import os
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from parts import built
from PIL import Image
from tiny_qwen import save_tiny_qwen
from training_world import config, samples, tiny

import revseg
from revseg.clip_cache import CachedSampler, _read
from revseg.errors import InputError, RevsegWarning, SpecError
from revseg.samplers import uniform
from revseg.types import Clip, Query, Sample
from revseg.untrusted.trust import check_foreign
from revseg.video import Video

QUERY = Query("q", "the red one")


def frames(folder: Path, count: int = 6, seed: int = 0, size: tuple[int, int] = (24, 32)) -> Path:
    """A folder of pictures of noise."""
    folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed)
    for number in range(count):
        Image.fromarray(noise.integers(0, 256, (*size, 3), np.uint8)).save(folder / f"{number:05d}.png")
    return folder


def counted(video: Video) -> tuple[Video, list[Any]]:
    """The same video, of the same reader class, which writes down what is read."""
    reads: list[Any] = []

    class Counting(type(video.reader)):  # type: ignore[misc]
        def __call__(self, indices: np.ndarray) -> np.ndarray:
            reads.append(indices.tolist())
            return super().__call__(indices)

    reader = Counting(**{name: getattr(video.reader, name) for name in ("paths", "size")})
    return Video(video.id, video.size, video.fps, len(video), reader), reads


def same(a: Clip, b: Clip) -> bool:
    return np.array_equal(a.frames, b.frames) and np.array_equal(a.frame_ids, b.frame_ids)


def test_it_is_read_once(tmp_path: Path):
    video, reads = counted(Video.open(frames(tmp_path / "v")))
    sampler = built("sampler", f"cached:of=uniform,path={tmp_path / 'cache'}")
    clips = [sampler(video, query, 3) for query in (QUERY, Query("other", "another question"))]
    assert reads == [[0, 3, 5]]
    assert all(same(clip, uniform(video, QUERY, 3)) for clip in clips)
    assert len(os.listdir(tmp_path / "cache")) == 1


def test_a_file_of_video_too(tmp_path: Path, make_video: Callable[..., Path]):
    path = make_video("v.mp4", 12)
    sampler = CachedSampler(path=tmp_path / "cache")
    first = sampler(Video.open(path), QUERY, 4)
    (kept,) = (tmp_path / "cache").iterdir()
    found = _read(kept, Video.open(path))
    assert found is not None
    assert same(found, first)
    assert same(found, uniform(Video.open(path), QUERY, 4))


@pytest.mark.parametrize("change", ["n", "sampler", "content", "touched", "other folder"])
def test_another_clip_is_never_met(tmp_path: Path, change: str):
    sampler, n = CachedSampler(path=tmp_path / "cache"), 3
    old = Video.open(frames(tmp_path / "v"))
    sampler(old, QUERY, n)
    folder = tmp_path / "v"
    if change == "n":
        n = 4
    elif change == "sampler":
        sampler = CachedSampler(path=tmp_path / "cache", of="stride:step=2")
    elif change == "content":
        frames(folder, seed=1)
    elif change == "touched":
        os.utime(folder / "00002.png", (1, 1))
    else:
        folder = frames(tmp_path / "w", seed=2)
    video, reads = counted(Video.open(folder))
    assert same(sampler(video, QUERY, n), sampler.sampler(Video.open(folder), QUERY, n))
    assert len(reads) == 1
    sampler(video, QUERY, n)
    assert len(reads) == 1


def by_query(video: Video, query: Query, n: int, /) -> Clip:
    """A sampler that reads the question."""
    ids = np.array([len(query.text) % len(video)])
    return Clip(video.read(ids), ids)


def test_a_sampler_that_reads_the_question_has_a_clip_for_each(tmp_path: Path):
    sampler = CachedSampler(path=tmp_path / "cache", of="test_clip_cache:by_query")
    video = Video.open(frames(tmp_path / "v"))
    ids = [sampler(video, Query("q", "x" * length), 1).frame_ids.tolist() for length in (1, 2, 1)]
    assert ids == [[1], [2], [1]]
    assert len(os.listdir(tmp_path / "cache")) == 2


def test_arrays_are_not_kept(tmp_path: Path):
    sampler = CachedSampler(path=tmp_path / "cache")
    sampler(Video.open(np.zeros((4, 8, 8, 3), np.uint8)), QUERY, 2)
    assert not (tmp_path / "cache").exists()


@given(st.floats(0, 1), st.sampled_from(["cut", "flip", "empty", "text"]))
def test_damage_is_decoded_again(tmp_path_factory: pytest.TempPathFactory, place: float, kind: str):
    folder = tmp_path_factory.mktemp("damage")
    video = Video.open(frames(folder / "v", 3, size=(8, 8)))
    sampler = CachedSampler(path=folder / "cache")
    want = sampler(video, QUERY, 2)
    (kept,) = (folder / "cache").iterdir()
    whole = kept.read_bytes()
    at = min(int(place * len(whole)), len(whole) - 1)
    flipped = whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :]
    kept.write_bytes({"cut": whole[:at], "flip": flipped, "empty": b"", "text": b"not a clip"}[kind])
    assert same(sampler(video, QUERY, 2), want)
    found = _read(kept, video)
    assert found is not None
    assert same(found, want)


def test_it_stays_within_its_bound(tmp_path: Path):
    """Clips of 3 x 24 x 32 x 3 = 6,912 bytes and a little; what was used longest ago goes first."""
    sampler = CachedSampler(path=tmp_path / "cache", gigabytes=50_000 / 1e9)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "thesis.npz").write_bytes(b"x" * 40_000)
    (tmp_path / "cache" / f"{'a' * 40}.npz.{'b' * 32}.part").write_bytes(b"x")
    os.utime(tmp_path / "cache" / f"{'a' * 40}.npz.{'b' * 32}.part", (1, 1))
    videos = [Video.open(frames(tmp_path / f"v{i}", seed=i)) for i in range(12)]
    for number, video in enumerate(videos):
        sampler(video, QUERY, 3)
        sampler(videos[0], QUERY, 3)  # in use all the time
        sizes = [p.stat().st_size for p in (tmp_path / "cache").iterdir() if p.name != "thesis.npz"]
        assert sum(sizes) <= 50_000, number
        time.sleep(0.002)
    assert len(list((tmp_path / "cache").iterdir())) > 4
    assert (tmp_path / "cache" / "thesis.npz").stat().st_size == 40_000
    counting, reads = counted(videos[0])
    sampler(counting, QUERY, 3)
    assert reads == []
    assert not [p for p in (tmp_path / "cache").iterdir() if p.suffix == ".part"]


def test_a_clip_above_the_bound_is_not_kept(tmp_path: Path):
    sampler = CachedSampler(path=tmp_path / "cache", gigabytes=1e-6)
    sampler(Video.open(frames(tmp_path / "v")), QUERY, 3)
    assert not (tmp_path / "cache").exists()


def _read_all(root: str, rounds: int) -> int:
    sampler = CachedSampler(path=Path(root) / "cache", gigabytes=30_000 / 1e9)
    wrong = 0
    for turn in range(rounds):
        for number in range(6):
            video = Video.open(Path(root) / f"v{(number + turn) % 6}")
            wrong += not same(sampler(video, QUERY, 3), uniform(video, QUERY, 3))
    return wrong


@pytest.mark.slow
def test_processes_share_a_folder_that_is_too_small(tmp_path: Path):
    for number in range(6):
        frames(tmp_path / f"v{number}", seed=number)
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(_read_all, [str(tmp_path)] * 3, [8] * 3)) == [0, 0, 0]


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    sampler = CachedSampler(path=tmp_path / "file")
    video = Video.open(frames(tmp_path / "v"))
    with pytest.warns(RevsegWarning, match="cannot be kept"):
        assert same(sampler(video, QUERY, 3), uniform(video, QUERY, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sampler(video, QUERY, 3)  # once is enough


def test_mistakes(tmp_path: Path):
    with pytest.raises(InputError, match="gigabytes above 0"):
        CachedSampler(path=tmp_path, gigabytes=0)
    with pytest.raises(SpecError, match="needs path"):
        built("sampler", "cached")
    with pytest.raises(SpecError, match="path='here', which is yours to choose"):
        check_foreign("sampler", "cached:path=here", "the checkpoint", "pass trust=True")


def test_a_training_run_with_a_cache(tmp_path: Path):
    """Bit-equal to one without; neither the run's settings nor the checkpoint hold it as the sampler."""
    folder = str(save_tiny_qwen(tmp_path / "tiny"))
    data = []
    for sample in samples(3):
        place = tmp_path / "videos" / sample.video.id
        place.mkdir(parents=True)
        for number, frame in enumerate(sample.video.read(range(len(sample.video)))):
            Image.fromarray(frame).save(place / f"{number:05d}.png")
        data.append(Sample(Video.open(place), sample.query, sample.truth))
    cache = str(tmp_path / "cache")
    weights = []
    for name, options in {"without": {}, "filled": {"clip_cache": cache}, "used": {"clip_cache": cache}}.items():
        done = revseg.train(tiny(folder), data, tmp_path / name, config(steps=2, **options))
        assert done.resolved().sampler == "uniform"
        weights.append(torch.load(tmp_path / name / "checkpoint.pt", weights_only=False)["model"])
    assert len(os.listdir(cache)) == 3
    for other in weights[1:]:
        assert all(torch.equal(other[name], value) for name, value in weights[0].items())
