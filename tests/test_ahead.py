"""Clips decoded ahead: the same run with and without, at most so many at a time, and errors where they belong."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_qwen import save_tiny_qwen
from training_world import config, samples, tiny

import revseg
from revseg.errors import InputError, VideoError
from revseg.training.ahead import Ahead, starts_of
from revseg.training.log import read_log
from revseg.training.rollouts import drawn
from revseg.types import Sample
from revseg.video import Video


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_qwen(tmp_path_factory.mktemp("tiny")))


def numbers(begun: list[int]) -> Any:
    def begin(index: int) -> Any:
        begun.append(index)
        if index == 7:
            raise VideoError("the seventh is torn")
        return index

    return begin


@pytest.mark.parametrize("ahead", [0, 1, 3, 50])
def test_each_once_in_order(ahead: int):
    begun: list[int] = []
    with Ahead(numbers(begun), iter([3, 1, 4, 1, 5]), ahead) as starts:
        assert starts.take(2) == [3, 1]
        assert starts.take(0) == []
        assert starts.take(5) == [4, 1, 5]
        assert starts.take(1) == []
    assert begun == [3, 1, 4, 1, 5]


@pytest.mark.parametrize("ahead", [1, 4])
def test_no_more_than_asked_for_are_made_ahead(ahead: int):
    begun: list[int] = []
    with Ahead(numbers(begun), iter(range(10, 30)), ahead) as starts:
        starts.take(3)
        _until(lambda: len(begun) == 3 + ahead)
        time.sleep(0.05)
        assert len(begun) == 3 + ahead


@pytest.mark.parametrize("ahead", [0, 1, 5])
def test_an_error_is_raised_where_its_sample_is_taken(ahead: int):
    with Ahead(numbers([]), iter([1, 2, 7, 3]), ahead) as starts:
        assert starts.take(2) == [1, 2]
        with pytest.raises(VideoError, match="seventh"):
            starts.take(1)


def test_what_is_not_taken_is_not_made_after_the_block():
    begun: list[int] = []
    with Ahead(numbers(begun), iter(range(10, 20)), 2) as starts:
        starts.take(1)
    count = len(begun)
    assert count <= 3
    time.sleep(0.05)
    assert len(begun) == count
    assert not any(thread.name.startswith("clips") for thread in threading.enumerate())


def test_the_shares_of_two_processes_are_the_steps_queries(folder: str):
    data: Any = samples(5)
    plan = config(queries_per_step=4)
    found = []
    for process in (0, 1):
        with starts_of(tiny(folder), data, plan, range(1, 3), process, 2) as starts:
            found.append([sample.query.id for sample, _ in starts.take(9)])
    for step in (1, 2):
        want = [f"q{index}" for index in drawn(5, 4, step, plan.seed)]
        share = [ids[2 * (step - 1) : 2 * step] for ids in found]
        assert [share[0][0], share[1][0], share[0][1], share[1][1]] == want


class Slow:
    """The samples, each read by the thread that `reads` names, and slowly."""

    def __init__(self, torn: int | None = None) -> None:
        self.samples, self.reads, self.torn = samples(5), [], torn

    def __len__(self) -> int:
        return 5

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(5))

    def __getitem__(self, index: int) -> Sample:
        sample = self.samples[index]

        def read(indices: Any) -> Any:
            self.reads.append(threading.current_thread().name)
            time.sleep(0.01)
            if index == self.torn:
                raise VideoError(f"video {index} is torn")
            return sample.video.reader(indices)

        video = Video(sample.video.id, sample.video.size, sample.video.fps, len(sample.video), read)
        return Sample(video, sample.query, sample.truth)


def test_a_run_is_bit_equal_with_and_without(folder: str, tmp_path: Path):
    logs, weights = [], []
    for prefetch in (0, 1, 32):
        data, out = Slow(), tmp_path / str(prefetch)
        revseg.train(tiny(folder), data, out, config(steps=3, prefetch=prefetch))
        assert len(data.reads) == 6  # each query's clip once, not once per conversation
        assert {name.startswith("clips") for name in data.reads} == {prefetch > 0}
        logs.append(
            [{k: v for k, v in row.items() if not k.startswith("seconds")} for row in read_log(out / "log.jsonl")]
        )
        weights.append(torch.load(out / "checkpoint.pt", weights_only=False)["model"])
    assert logs[0] == logs[1] == logs[2]
    for other in weights[1:]:
        assert all(torch.equal(other[name], value) for name, value in weights[0].items())


def test_a_resumed_run_may_prefetch_otherwise(folder: str, tmp_path: Path):
    revseg.train(tiny(folder), samples(5), tmp_path / "whole", config(steps=4, prefetch=0))
    revseg.train(tiny(folder), samples(5), tmp_path / "cut", config(steps=2, prefetch=5))
    revseg.train(tiny(folder), samples(5), tmp_path / "cut", config(steps=4, prefetch=0))
    whole, cut = (torch.load(tmp_path / n / "checkpoint.pt", weights_only=False)["model"] for n in ("whole", "cut"))
    assert all(torch.equal(cut[name], value) for name, value in whole.items())


def test_a_torn_video_ends_the_run_with_its_error_and_the_thread_with_it(folder: str, tmp_path: Path):
    first = drawn(5, 2, 0, 0)
    torn = next(index for index in drawn(5, 2, 1, 0) + drawn(5, 2, 2, 0) if index not in first)
    with pytest.raises(VideoError, match="is torn"):
        revseg.train(tiny(folder), Slow(torn), tmp_path / "out", config(steps=4))
    assert not any(thread.name.startswith("clips") for thread in threading.enumerate())


def test_prefetch_is_a_count():
    with pytest.raises(InputError, match="prefetch"):
        config(prefetch=-1)


def _until(true: Any) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.002)
