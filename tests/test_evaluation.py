"""evaluate(): one row per query whatever happens, and one file for any number of workers, after any interruption."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_trees import TREES
from parts import built

import revseg
from revseg.errors import InputError, OutputError, SpecError
from revseg.evaluation import PROTOCOLS, Results, evaluate, score
from revseg.evaluation.results import merge, shards, to_line
from revseg.evaluation.run import _place_in_job
from revseg.evaluation.shard import append, shard
from revseg.masks import MaskTrack
from revseg.types import Grounding, Sample
from revseg.video import Video

WORLD = "shapes:size=5,frames=6,height=32,width=32,seed=3"
ORACLE = revseg.ReVSeg(policy="oracle", tracker="fill_box", num_frames=4)


def run(out: Path, model: revseg.ReVSeg = ORACLE, data: Any = WORLD, **options: Any) -> Results:
    return evaluate(model, data, out, progress=False, **options)


def content(path: Path) -> list[dict[str, Any]]:
    """The file's lines, header first, without the timings."""
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    return [{key: value for key, value in line.items() if key != "timings"} for line in lines]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "r.jsonl"
    run(path)
    return path


class Unlucky:
    """The dataset, but sample 1 cannot be read."""

    def __init__(self) -> None:
        self.data = revseg.build("dataset", WORLD)

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Sample:
        if index == 1:
            raise ValueError("this one is broken")
        return self.data[index]


def bad_reward(rollout: Any, truth: Any) -> float:
    return 2.0 if rollout.query.id.endswith("-2-query") else 1.0


def short_tracker(video: Video, groundings: Sequence[Grounding]) -> MaskTrack:
    return MaskTrack.empty(video.size, range(len(video) - 1))


def test_every_sample_has_its_row_in_order(whole: Path):
    results, data = Results.open(whole), built("dataset", WORLD)
    assert results.finished
    assert [row.index for row in results] == [0, 1, 2, 3, 4]
    for row, sample in zip(results, data, strict=True):
        assert (row.video, row.query, row.text) == (sample.video.id, sample.query.id, sample.query.text)
        assert row.failure is None
        assert row.masks is not None
        assert row.truth is not None
        assert row.truth.counts == sample.truth.counts
        assert row.masks.frame_ids.tolist() == list(range(6))
        assert row.meta["kind"] == sample.meta["kind"]
        assert set(row.data["rewards"]["values"]) == {"format", "temporal", "spatial"}
        assert len(row.data["rounds"]) in (1, 2)
        assert set(row.data["timings"]) == {"load", "rollout", "track", "score"}


def test_masks_are_those_of_the_pipeline(whole: Path):
    sample = revseg.build("dataset", WORLD)[2]
    direct = ORACLE.segment(sample.video, sample.query, truth=sample.truth)
    row = next(row for row in Results.open(whole) if row.index == 2)
    assert row.masks is not None
    assert row.masks.counts == direct.masks.counts
    assert direct.rewards is not None
    assert row.data["rewards"]["total"] == direct.rewards.total


def test_header_rebuilds_the_run(whole: Path):
    header = Results.open(whole).header
    assert revseg.ReVSeg.from_dict(header["spec"]) == ORACLE.resolved()
    assert header["dataset"] == WORLD
    assert header["samples"] == header["dataset_length"] == 5
    assert header["versions"]["revseg"] == revseg.__version__


@pytest.mark.parametrize("batch", [2, 8])
def test_batches_change_nothing(whole: Path, tmp_path: Path, batch: int):
    run(tmp_path / "b.jsonl", batch=batch)
    assert content(tmp_path / "b.jsonl") == content(whole)


@pytest.mark.slow
def test_processes_change_nothing(whole: Path, tmp_path: Path):
    run(tmp_path / "w.jsonl", workers=2)
    assert content(tmp_path / "w.jsonl") == content(whole)
    assert not shards(tmp_path / "w.jsonl")


@pytest.mark.parametrize("world", [2, 3, 7])
def test_ranks_of_a_job_in_any_order_change_nothing(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: int
):
    monkeypatch.setenv("WORLD_SIZE", str(world))
    for rank in reversed(range(world)):
        assert not (tmp_path / "j.jsonl").exists()
        monkeypatch.setenv("RANK", str(rank))
        run(tmp_path / "j.jsonl")
    assert content(tmp_path / "j.jsonl") == content(whole)


def test_a_killed_run_continues_from_any_byte(whole: Path, tmp_path: Path):
    full = whole.read_bytes()
    ends = [i + 1 for i, byte in enumerate(full) if byte == ord("\n")]
    cuts = [0, 5, ends[0], ends[0] + 1, ends[2] - 1, ends[2], ends[3] + 40, ends[-1] - 1]
    for cut in cuts:
        out = tmp_path / f"{cut}.jsonl"
        Path(f"{out}.shard-0000").write_bytes(full[:cut])
        run(out)
        assert content(out) == content(whole), cut


def test_two_processes_that_merge_at_once(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The second one finds the shards gone after it has read where their rows are."""
    out = tmp_path / "r.jsonl"
    Path(f"{out}.shard-0000").write_bytes(whole.read_bytes())
    lines = Results.lines

    def lines_after_another_merge(self: Results) -> Iterator[bytes]:
        monkeypatch.setattr(Results, "lines", lines)
        assert merge(out).finished
        return lines(self)

    monkeypatch.setattr(Results, "lines", lines_after_another_merge)
    assert merge(out).finished
    assert content(out) == content(whole)
    assert os.listdir(tmp_path) == ["r.jsonl"]


def test_rows_done_are_not_done_again(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = tmp_path / "r.jsonl"
    lines = whole.read_bytes().splitlines(keepends=True)
    Path(f"{out}.shard-0000").write_bytes(b"".join([lines[0], lines[2], lines[4]]))
    asked = []
    real = revseg.ReVSeg.track
    monkeypatch.setattr(
        revseg.ReVSeg,
        "track",
        lambda self, sample, rollout: asked.append(sample.video.id) or real(self, sample, rollout),
    )
    run(out)
    assert asked == ["shapes-train-3-0", "shapes-train-3-2", "shapes-train-3-4"]
    run(out)
    assert len(asked) == 3


def test_continues_with_another_number_of_workers(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = tmp_path / "r.jsonl"
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", "1")
    assert len(run(out)) == 2
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.delenv("RANK")
    run(out)
    assert content(out) == content(whole)


def test_limit_can_be_raised_but_not_lowered(whole: Path, tmp_path: Path):
    out = tmp_path / "r.jsonl"
    assert len(run(out, limit=2)) == 2
    assert run(out, limit=2).samples == 2
    run(out)
    assert content(out) == content(whole)
    with pytest.raises(InputError, match="more than the 3"):
        run(out, limit=3)


def test_rows_of_another_model_never_mix(whole: Path, tmp_path: Path):
    out = tmp_path / "r.jsonl"
    out.write_bytes(whole.read_bytes())
    with pytest.raises(InputError, match=r"another run.*random"):
        run(out, ORACLE.replace(policy="random"))
    with pytest.raises(InputError, match="its dataset"):
        run(out, data=WORLD.replace("seed=3", "seed=4"))
    assert out.read_bytes() == whole.read_bytes()
    run(out, ORACLE.replace(policy="random"), resume=False)
    assert Results.open(out).header["spec"]["policy"] == "random"


def test_a_part_whose_file_changed_is_another_model(tmp_path: Path):
    part = tmp_path / "part.py"
    text = "import numpy as np\nfrom revseg.types import Clip\n"
    text += "def first(video, query, n, /):\n    ids = np.arange(min(n, 2))\n    return Clip(video.read(ids), ids)\n"
    part.write_text(text)
    model = ORACLE.replace(sampler=f"{part}:first")
    run(tmp_path / "r.jsonl", model, limit=1)
    part.write_text(text.replace("2)", "3)"))
    with pytest.raises(InputError, match="its files"):
        run(tmp_path / "r.jsonl", model, limit=1)


def test_a_crash_is_a_row_and_not_the_end(tmp_path: Path):
    model = revseg.ReVSeg(policy="oracle", tracker="fill_box", num_frames=4, rewards={"format": 1, bad_reward: 1})
    results = run(tmp_path / "r.jsonl", model, Unlucky(), batch=3)
    rows = {row.index: row for row in results}
    assert [rows[i].failure for i in range(5)] == [None, "crash:ValueError", "crash:PartError", None, None]
    assert "this one is broken" in rows[1].data["detail"]
    assert rows[1].masks is rows[1].video is None
    assert rows[2].masks is not None  # the answer is there, only the judgement broke
    assert "bad_reward" in rows[2].data["detail"]
    assert results.summary() == {
        "samples": 5,
        "rows": 5,
        "finished": True,
        "crashed": 2,
        "cut_off": 0,
        "failures": {"crash:ValueError": 1, "crash:PartError": 1},
    }


def test_one_bad_sample_of_a_batch_spoils_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real = revseg.ReVSeg.clip

    def clip(self: revseg.ReVSeg, video: Video, query: Any) -> Any:
        if video.id.endswith("-3"):
            raise RuntimeError("cannot be decoded")
        return real(self, video, query)

    monkeypatch.setattr(revseg.ReVSeg, "clip", clip)
    results = run(tmp_path / "r.jsonl", batch=5)
    assert [row.failure for row in results] == [None, None, None, "crash:RuntimeError", None]


def test_a_tracker_that_loses_frames_is_caught(tmp_path: Path):
    model = ORACLE.replace(tracker=short_tracker)
    data = revseg.build("dataset", f'{WORLD},kinds=["attribute"]')
    assert {row.failure for row in run(tmp_path / "r.jsonl", model, data, limit=2)} == {"crash:PartError"}


def test_crashed_samples_are_tried_again_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out, real = tmp_path / "r.jsonl", revseg.ReVSeg.clip

    def broken(*_: Any) -> Any:
        raise RuntimeError("no")

    monkeypatch.setattr(revseg.ReVSeg, "clip", broken)
    assert run(out, limit=2).summary()["crashed"] == 2
    monkeypatch.setattr(revseg.ReVSeg, "clip", real)
    assert run(out, limit=2).summary()["crashed"] == 2
    assert run(out, limit=2, retry=True).summary()["crashed"] == 0
    assert [row.index for row in Results.open(out)] == [0, 1]


def test_a_failed_reply_is_data(tmp_path: Path):
    model = revseg.ReVSeg(policy={"name": "scripted", "replies": ["no json at all"]}, tracker="fill_box")
    row = next(iter(run(tmp_path / "r.jsonl", model, limit=1)))
    assert (row.data["status"], row.data["error"]) == ("failed", row.failure)
    assert row.failure is not None
    assert row.failure.startswith("round 1: ")
    assert not row.crashed
    assert row.masks is not None
    assert not row.masks.visible.any()


def test_wrong_specs_are_errors_at_once(tmp_path: Path):
    for change in ({"tracker": "nope"}, {"rewards": {"nope": 1.0}}, {"sampler": "nope"}):
        with pytest.raises(SpecError, match="nope"):
            run(tmp_path / "r.jsonl", ORACLE.replace(**change))
    assert list(tmp_path.iterdir()) == []


def test_two_processes_do_not_write_one_file(whole: Path, tmp_path: Path):
    out = tmp_path / "r.jsonl"
    header = Results.open(whole).header
    with shard(out, 0, header), pytest.raises(OutputError, match="another process"):
        run(out)


def test_starting_over_removes_no_file_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mine.txt").write_text("a thesis\n")
    with pytest.raises(InputError, match=r"mine\.txt"):
        run(tmp_path / "mine.txt", resume=False)
    with pytest.raises(InputError, match=r"mine\.txt"):
        run(tmp_path / "mine.txt")
    assert (tmp_path / "mine.txt").read_text() == "a thesis\n"
    with pytest.raises(OutputError, match="folder"):
        run(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="several ranks"):
        run(tmp_path / "mine.txt", resume=False)


def test_replies_cannot_break_the_file(tmp_path: Path):
    nasty = 'a\nb\u2028c\ud800 "x" {"index": 9, "failure": null}\x00'
    out = tmp_path / "r.jsonl"
    header = {"format": "revseg-results", "version": 2, "samples": 1}
    with shard(out, 0, header) as file:
        append(file, {"index": 0, "failure": None, "query": {"id": "q", "text": nasty}})
    assert [row.text for row in merge(out)] == [nasty]


@pytest.mark.parametrize("text", ["", "\n", "[]\n", "not json\n", '{"index": 0, "failure": null}\n', '{"a": 1}\n'])
def test_other_files_are_refused_by_name(tmp_path: Path, text: str):
    (tmp_path / "x.jsonl").write_text(text)
    with pytest.raises(InputError, match=r"x\.jsonl"):
        Results.open(tmp_path / "x.jsonl")
    with pytest.raises(InputError, match="no such results file"):
        Results.open(tmp_path / "missing.jsonl")


def test_rows_written_by_others_may_order_their_keys_freely(tmp_path: Path):
    header = {"samples": 2, "version": 2, "format": "revseg-results"}
    rows = [{"failure": None, "index": 1}, {"query": {"id": "a"}, "index": 0}]
    (tmp_path / "x.jsonl").write_bytes(b"".join(to_line(line) for line in [header, *rows]))
    assert [row.index for row in Results.open(tmp_path / "x.jsonl")] == [0, 1]


@pytest.mark.parametrize(("rank", "world"), [("2", "2"), ("-1", "2"), ("x", "2")])
def test_a_wrong_place_in_a_job_is_refused(monkeypatch: pytest.MonkeyPatch, rank: str, world: str):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", world)
    with pytest.raises(InputError, match="RANK"):
        _place_in_job()


def test_an_empty_dataset_is_a_finished_file(tmp_path: Path):
    results = run(tmp_path / "r.jsonl", limit=0)
    assert results.finished
    assert list(results) == []
    assert (tmp_path / "r.jsonl").exists()


@pytest.mark.parametrize("name", TREES)
@pytest.mark.filterwarnings("ignore::UserWarning")  # readers warn of sets that are not whole
def test_every_benchmark_is_evaluated_and_scored_by_its_own_protocol(name: str, tmp_path: Path):
    """The truth as the answer, through the reader, the file and the scorer: full marks everywhere."""
    root = tmp_path / "root"
    root.mkdir()
    spec = {"name": name, "root": str(root), **TREES[name](root)}
    results = run(tmp_path / "r.jsonl", revseg.ReVSeg(policy="oracle", tracker="oracle"), spec)
    blind = [row.query for row in results if row.truth is None]
    assert [row.query for row in results if row.crashed] == blind == (["none"] if name == "folder" else [])
    found = score(results)
    assert found.protocol == (name if name in PROTOCOLS else "generic")
    if name == "reason_seg":  # its code adds 1e-5 to each union, here of 205 and 9 pixels
        full = [area / (area + 1e-5) for area in (19 * 11 - 4, 9)]
        assert found.overall == pytest.approx({"gIoU": sum(full) / 2, "cIoU": 1}, rel=0, abs=1e-12)
        return
    assert found.overall["J&F"] == 1
    if name == "revos":
        assert found.overall["R"] == found.overall["A"] == 1
        assert [len(row.meta.get("foreground_areas", [])) for row in results] == [4, 4, 4, 0]
    if name == "ref_davis17":
        assert all(MaskTrack.from_dict(row.meta["void"]).areas.tolist() == [1, 1, 1, 1] for row in results)
        for protocol in ("ref_davis17_strict", "ref_davis17_b"):
            assert score(results, protocol).overall["J&F"] == 1
        assert len(score(results, "ref_davis17_b").queries) > len(found.queries)  # A misses the object that comes later


def test_importing_evaluation_is_light():
    import subprocess

    heavy = ("torch", "transformers", "cv2", "scipy")
    code = f"import sys, revseg.evaluation; print([m for m in {heavy} if m in sys.modules])"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "[]"


def test_meta_of_any_kind_is_written(tmp_path: Path):
    sample = revseg.build("dataset", WORLD)[0]
    meta = {
        "array": np.arange(3),
        "track": MaskTrack.empty((2, 2), [0]),
        "path": Path("a"),
        "set": {2, 1},
        3: (1.5, None),
    }
    row = next(iter(run(tmp_path / "r.jsonl", data=[Sample(sample.video, sample.query, sample.truth, meta)])))
    assert row.meta["array"] == [0, 1, 2]
    assert row.meta["set"] == [1, 2]
    assert row.meta["path"] == "a"
    assert row.meta["3"] == [1.5, None]
    assert MaskTrack.from_dict(row.meta["track"]).size == (2, 2)
