"""The data filter as a file: judged once whatever happens, shared by processes, applied by reference."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_trees import TREES
from parts import built
from typer.testing import CliRunner

import revseg
from revseg.cli.app import app
from revseg.datasets.filter_file import FilterFile, filter_shards
from revseg.datasets.filtered import identity
from revseg.errors import InputError, VideoError
from revseg.masks import MaskTrack
from revseg.trackers.fill_box import fill_box
from revseg.training.data_filter import filter_videos
from revseg.training.filter_run import filter_to_file
from revseg.types import Grounding, Sample
from revseg.video import Video

WORLD = "shapes:size=5,frames=6,height=48,width=48,seed=1"
OTHER = "shapes:size=5,frames=6,height=48,width=48,seed=2"
LOG = "REVSEG_TEST_FILTER_LOG"


def watched(video: Video, groundings: Sequence[Grounding]) -> MaskTrack:
    """`fill_box`, which writes down each video that it is asked about, and takes its time."""
    with Path(os.environ[LOG]).open("a") as log:
        log.write(f"{video.id}\n")
    time.sleep(0.02)
    return fill_box(video, groundings)


def scores(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())["scores"]


def test_the_file_holds_what_filter_videos_finds(tmp_path: Path):
    found = filter_to_file(WORLD, "fill_box", tmp_path / "f.json", threshold=0.95)
    want = filter_videos(revseg.build("dataset", WORLD), "fill_box", 0.95)
    assert found.finished
    assert scores(tmp_path / "f.json") == want.scores
    assert tuple(found.kept()) == want.kept
    assert 0 < len(want.indices) < 5
    assert built("dataset", {"name": "filtered", "of": WORLD, "by": str(tmp_path / "f.json")}).indices == want.indices
    document = json.loads((tmp_path / "f.json").read_text())
    assert (document["dataset"], document["tracker"], document["threshold"]) == (WORLD, "fill_box", 0.95)
    assert os.listdir(tmp_path) == ["f.json"]


@pytest.mark.parametrize("world", [2, 3, 7])
def test_processes_in_any_order_write_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: int):
    filter_to_file(WORLD, "fill_box", tmp_path / "one.json")
    monkeypatch.setenv("WORLD_SIZE", str(world))
    for rank in reversed(range(world)):
        assert not (tmp_path / "f.json").exists()
        monkeypatch.setenv("RANK", str(rank))
        found = filter_to_file(WORLD, "fill_box", tmp_path / "f.json")
        assert found.finished == (rank == 0)
    assert (tmp_path / "f.json").read_bytes() == (tmp_path / "one.json").read_bytes()


def test_a_run_of_three_processes_goes_on_with_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(LOG, str(tmp_path / "log"))
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", "1")
    filter_to_file(WORLD, watched, tmp_path / "f.json")
    first = (tmp_path / "log").read_text().split()
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.delenv("RANK")
    assert filter_to_file(WORLD, watched, tmp_path / "f.json").finished
    again = (tmp_path / "log").read_text().split()[len(first) :]
    assert len(set(first)) == 2
    assert set(first).isdisjoint(again)
    assert len({*first, *again}) == 5


def test_it_goes_on_from_any_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Killed at any moment, it has lost at most the row that it was writing."""
    monkeypatch.setenv("WORLD_SIZE", "2")  # one rank's shard stays a shard
    monkeypatch.setenv("RANK", "0")
    filter_to_file(WORLD, "fill_box", tmp_path / "f.json")
    full = (tmp_path / "f.json.shard-0000").read_bytes()
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.delenv("RANK")
    filter_to_file(WORLD, "fill_box", tmp_path / "whole.json")
    ends = [i + 1 for i, byte in enumerate(full) if byte == ord("\n")]
    for cut in (0, 5, ends[0], ends[0] + 1, ends[1] - 1, ends[1], ends[2] + 9, len(full)):
        out = tmp_path / f"{cut}.json"
        Path(f"{out}.shard-0000").write_bytes(full[:cut])
        assert filter_to_file(WORLD, "fill_box", out).finished
        assert out.read_bytes() == (tmp_path / "whole.json").read_bytes(), cut


@pytest.mark.slow
def test_killed_in_the_middle(tmp_path: Path):
    """A real process, killed while it judges the third video: the next one judges that video again, and no other."""
    log, out = tmp_path / "log", tmp_path / "f.json"
    code = "from test_filter_file import *; filter_to_file(WORLD, watched, sys.argv[1])"
    path = os.pathsep.join([str(Path(__file__).parent.parent), str(Path(__file__).parent)])
    env = {**os.environ, LOG: str(log), "PYTHONPATH": path}
    process = subprocess.Popen([sys.executable, "-c", code, str(out)], env=env)
    deadline = time.monotonic() + 120
    while not log.exists() or len(set(log.read_text().split())) < 3:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = log.read_text().split()
    found = FilterFile.open(out)
    assert found.judged in (2, 3)
    assert not found.finished
    subprocess.run([sys.executable, "-c", code, str(out)], env=env, check=True)
    again = log.read_text().split()[len(before) :]
    assert set(again).isdisjoint(found.scores)
    assert len(FilterFile.open(out).scores) == 5
    assert not filter_shards(out)


def test_a_video_that_cannot_be_read_is_left_out(tmp_path: Path):
    class Damaged:
        """The world, with one video whose frames cannot be decoded and one query whose masks are missing."""

        def __init__(self) -> None:
            self.data = revseg.build("dataset", WORLD)

        def __len__(self) -> int:
            return 5

        def __iter__(self) -> Iterator[Sample]:
            return (self[index] for index in range(5))

        def video_ids(self) -> list[str]:
            return [sample.video.id for sample in self.data]

        def __getitem__(self, index: int) -> Sample:
            if index == 1:
                raise InputError("no masks")
            sample = self.data[index]
            if index == 3:

                def broken(indices: np.ndarray) -> np.ndarray:
                    raise VideoError("a torn file")

                return Sample(Video(sample.video.id, sample.video.size, 1.0, 6, broken), sample.query, sample.truth)
            return sample

    data = Damaged()
    found = filter_to_file(data, "fill_box", tmp_path / "f.json", threshold=0)
    ids = data.video_ids()
    assert found.unreadable == {ids[1]: "InputError: no masks", ids[3]: "VideoError: a torn file"}
    assert found.kept() == [ids[0], ids[2], ids[4]]
    assert found.summary() == {"videos": 5, "judged": 5, "kept": 3, "unreadable": 2, "threshold": 0.0}


def test_a_dataset_without_truth_is_refused(tmp_path: Path):
    sample = revseg.build("dataset", WORLD)[0]
    with pytest.raises(InputError, match="without truth"):
        filter_to_file([Sample(sample.video, sample.query)], "fill_box", tmp_path / "f.json")


@pytest.mark.parametrize(
    ("dataset", "tracker", "options", "words"),
    [
        (OTHER, "fill_box", {}, "its dataset is"),
        (WORLD, "oracle", {}, "its tracker is 'fill_box', now 'oracle'"),
        (WORLD, "fill_box", {"whole": True}, "its whole is False"),
        (WORLD, "fill_box", {"threshold": 0.5}, "its threshold is 0.6, now 0.5; .* option threshold="),
    ],
)
def test_another_filter_never_mixes_with_it(tmp_path: Path, dataset: str, tracker: str, options: Any, words: str):
    filter_to_file(WORLD, "fill_box", tmp_path / "f.json")
    with pytest.raises(InputError, match=words):
        filter_to_file(dataset, tracker, tmp_path / "f.json", **options)


def test_other_versions_judge_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    filter_to_file(WORLD, "fill_box", tmp_path / "f.json")
    monkeypatch.setattr("revseg.training.filter_run.versions", lambda: {"revseg": "other"})
    monkeypatch.setattr("revseg.training.filter_run.ious_of", None)
    assert filter_to_file(WORLD, "fill_box", tmp_path / "f.json").finished


# applied


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("filter") / "f.json"
    filter_to_file(WORLD, "fill_box", path, threshold=0.95)
    return path


def test_a_part_of_a_mixture_is_filtered(judged: Path):
    kept = built("dataset", {"name": "filtered", "of": WORLD, "by": str(judged)})
    mixed = built("dataset", {"name": "mixture", "of": [{"name": "filtered", "of": WORLD, "by": str(judged)}, OTHER]})
    assert len(mixed) == len(kept) + 5
    assert [s.video.id for s in mixed][: len(kept)] == [f"filtered/{s.video.id}" for s in kept]
    assert kept.video_ids() == [s.video.id for s in kept]
    assert mixed.video_ids() == [s.video.id for s in mixed]


def test_a_mixture_is_filtered_as_a_whole(tmp_path: Path):
    spec = {"name": "mixture", "of": [WORLD, OTHER], "weights": [1, 2]}
    filter_to_file(spec, "fill_box", tmp_path / "f.json", threshold=0.95)
    kept = built("dataset", {"name": "filtered", "of": spec, "by": str(tmp_path / "f.json")})
    want = filter_videos(revseg.build("dataset", spec), "fill_box", 0.95)
    assert kept.indices == want.indices
    assert 0 < len(kept) < 15


def test_the_threshold_can_be_another(judged: Path):
    spec = {"name": "filtered", "of": WORLD, "by": str(judged)}
    assert len(built("dataset", {**spec, "threshold": 0})) == 5
    assert len(built("dataset", {**spec, "threshold": 1})) < 5
    with pytest.raises(InputError, match=r"threshold in \[0, 1\]"):
        built("dataset", {**spec, "threshold": 60})


def test_the_spec_as_text(judged: Path):
    assert len(built("dataset", f'filtered:of="{WORLD}",by={judged}')) == len(FilterFile.open(judged).kept())


def test_the_filter_of_another_dataset_is_refused(judged: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"filter of another dataset: 'shapes:size=5.*seed=1' with 5 samples"):
        built("dataset", {"name": "filtered", "of": OTHER, "by": str(judged)})
    document = json.loads(judged.read_text())
    document["scores"]["other"] = document["scores"].pop(next(iter(document["scores"])))
    (tmp_path / "f.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="has no score of the video"):
        built("dataset", {"name": "filtered", "of": WORLD, "by": str(tmp_path / "f.json")})


def test_the_folder_of_the_data_may_be_another():
    assert identity("mevis:root=/data/a,split=train") == identity({"name": "mevis", "split": "train", "root": "/b"})
    assert identity("mevis:split=train") != identity("mevis:split=valid")
    assert identity("mevis:split=valid_u") == identity("mevis:root=a") == {"name": "mevis"}
    assert identity({"object": "x"}) == {"object": "x"}
    assert identity("mine.py:data:root=a,n=1") == {"name": "mine.py:data", "n": 1}
    parts = ["mevis:root=a", {"name": "filtered", "of": "revos:root=b", "by": "f.json"}]
    moved = [{"name": "mevis", "root": "x"}, {"name": "filtered", "of": {"name": "revos"}, "by": "f.json"}]
    assert identity({"name": "mixture", "of": parts}) == identity({"name": "mixture", "of": moved})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no such filter file"),
        ("", "expected a filter file"),
        ("{}", "expected a filter file"),
        ('{"format": "revseg-filter", "version": 2}', "expected version 1"),
        ('{"format": "revseg-filter", "version": 1}', "videos"),
    ],
)
def test_files_that_are_none(tmp_path: Path, text: str | None, words: str):
    if text is not None:
        (tmp_path / "f.json").write_text(text)
    with pytest.raises(InputError, match=words):
        built("dataset", {"name": "filtered", "of": WORLD, "by": str(tmp_path / "f.json")})


def test_an_unfinished_filter_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    filter_to_file(WORLD, "fill_box", tmp_path / "f.json")
    with pytest.raises(InputError, match="not finished: 2 of 5 videos"):
        built("dataset", {"name": "filtered", "of": WORLD, "by": str(tmp_path / "f.json")})


# the command


def run(*words: Any) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = tmp_path / "f.json"
    words = ["filter", WORLD, "--tracker", "fill_box", "--out", out, "--threshold", "0.95"]
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    monkeypatch.setenv("SLURM_PROCID", "1")
    assert "2 of 5 videos judged; other processes have the rest" in run(*words).stdout
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS")
    done = run(*words, "--json")
    kept = len(FilterFile.open(out).kept())
    want = {"videos": 5, "judged": 5, "kept": kept, "unreadable": 0, "threshold": 0.95}
    assert json.loads(done.stdout) == want
    assert f"{kept} of 5 videos kept" in run(*words).stdout
    assert run("filter", OTHER, *words[2:]).exit_code == 3
    assert run("filter", "mevis", "--out", out).exit_code == 2


def test_a_benchmark_in_a_folder(tmp_path: Path):
    """The official layout, read twice from folders of two names."""
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        options = TREES["mevis"](tmp_path / name)
    words = ["--root", tmp_path / "here", "--tracker", "fill_box", "--out", tmp_path / "f.json"]
    assert run("filter", "mevis", *words).exit_code == 0
    of = {"name": "mevis", "root": str(tmp_path / "there"), **options}
    found = built("dataset", {"name": "filtered", "of": of, "by": str(tmp_path / "f.json"), "threshold": 0})
    assert [s.query.id for s in found] == [s.query.id for s in built("dataset", of)]
    assert found.listed(0)[1].id == found[0].query.id
