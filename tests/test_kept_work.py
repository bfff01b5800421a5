"""No finished work is thrown away: odd text, odd rates, narrow terminals, full disks, killed parents, second runs."""

import errno
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import revseg
from revseg.errors import OutputError, RevsegError
from revseg.evaluation import evaluate
from revseg.output import check_folder
from revseg.training.config import TrainConfig
from revseg.types import Query, Reply
from revseg.video import Video

BOX = ["--keyframe", "1", "--box", "3,3,20,20", "--tracker", "fill_box"]


def command(*arguments: str | bytes, folder: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """`revseg` in a process of its own, where the terminal's encoding and the file names' are real."""
    code = "from revseg.cli.app import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("fps", [0.005, 2000.0])
def test_a_source_of_any_rate_has_its_overlay(tmp_path: Path, fps: float) -> None:
    video = Video.open(np.zeros((4, 32, 32, 3), np.uint8), fps=fps)
    model = revseg.ReVSeg(policy="random", tracker="fill_box", num_frames=2)
    model.segment(video, "it").save(tmp_path / "out", video)
    assert 0.01 <= Video.open(tmp_path / "out" / "overlay.mp4").fps <= 1000
    assert json.loads((tmp_path / "out" / "reasoning.json").read_text())["video"]["fps"] == fps


class Halves:
    """A policy whose reply holds half a surrogate pair, as a server's JSON may."""

    def reply(self, rollouts: Any, prompts: Any, *, sampling: Any) -> list[Reply]:
        return [Reply('half \ud83d <answer>{"keyframe": 0, "description": "x \ud83d"}</answer>') for _ in prompts]


def test_half_a_surrogate_pair_is_replaced(tmp_path: Path) -> None:
    assert Query("a", "le caf\udce9").text == "le caf\ufffd"
    assert Query("a", "\ud83d\ude00 \ud83d").text == "\U0001f600 \ufffd"
    video = Video.open(np.zeros((4, 32, 32, 3), np.uint8))
    result = revseg.ReVSeg(policy=Halves(), tracker="fill_box", num_frames=2).segment(video, "caf\udce9")
    result.save(tmp_path / "out", video)
    record = json.loads((tmp_path / "out" / "reasoning.json").read_text("utf-8"))
    assert record["query"]["text"] == "caf\ufffd"
    assert record["rounds"][0]["reply"].startswith("half \ufffd")
    assert "half \ufffd" in (tmp_path / "out" / "reasoning.html").read_text("utf-8")


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes there")
def test_names_that_are_not_utf8(make_video: Callable[..., Path], tmp_path: Path) -> None:
    name = b"caf\xe9 \xff\n.mp4"
    (tmp_path / os.fsdecode(name)).write_bytes(make_video("kept.mp4", 4).read_bytes())
    done = command("segment", name, b"le caf\xe9", "--out", "out", *BOX, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "masks.json").exists()
    done = command("segment", name, b"le caf\xe9", "--out", "more", "--json", *BOX, folder=tmp_path)
    assert json.loads(done.stdout)["query"]["text"] == "le caf\ufffd"
    done = command("segment", b"none\xe9.mp4", "it", "--out", b"out\xe9", *BOX, folder=tmp_path)
    assert (done.returncode, b"Traceback" in done.stderr) == (3, False)


def test_a_terminal_of_ascii_only(make_video: Callable[..., Path], tmp_path: Path) -> None:
    video, narrow = str(make_video("kept.mp4", 4)), {"PYTHONIOENCODING": "ascii", "LANG": "C", "LC_ALL": "C"}
    out = tmp_path / "r\u00e9sultat \U0001f600"
    for arguments in (
        ("segment", video, "le café \U0001f600", "--out", str(out), *BOX),
        ("segment", video, "le café", "--out", str(tmp_path / "other"), "--policy", "scripted:replies=['é']"),
        ("list",),
        ("report", str(tmp_path / "é.jsonl"), "--out", str(out)),
    ):
        done = command(*arguments, folder=tmp_path, **narrow)
        assert b"Traceback" not in done.stderr, done.stderr.decode()
    assert (out / "masks.json").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("arguments", [["list"], ["--version"], ["list", "--json"]])
def test_a_full_disk_behind_stdout(arguments: list[str], tmp_path: Path) -> None:
    code = "from revseg.cli.app import main; main()"
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 3
    assert done.stderr == "revseg: cannot write the output: No space left on device\n"


SLOW = """
import os, sys, time
from pathlib import Path
import revseg
from revseg.evaluation import evaluate

def slow(video, groundings):
    Path(os.environ["SEEN"], str(os.getpid())).touch()
    time.sleep(300)

if __name__ == "__main__":
    model = revseg.ReVSeg(policy="oracle", tracker=f"{__file__}:slow", num_frames=2)
    evaluate(model, "shapes:size=9,frames=4,height=32,width=32", sys.argv[1], workers=2, progress=False)
"""


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_workers_end_with_a_killed_parent_and_leave_no_lock(tmp_path: Path) -> None:
    script, seen, out = tmp_path / "slow.py", tmp_path / "seen", tmp_path / "r.jsonl"
    script.write_text(SLOW)
    seen.mkdir()
    parent = subprocess.Popen([sys.executable, str(script), str(out)], env={**os.environ, "SEEN": str(seen)})
    try:
        until(lambda: len(list(seen.iterdir())) == 2)
    finally:
        parent.kill()
        parent.wait()
    workers = [item.name for item in seen.iterdir()]
    until(lambda: not any(alive(pid) for pid in workers), 20)
    model = revseg.ReVSeg(policy="oracle", tracker="fill_box", num_frames=2)
    (tmp_path / "r.jsonl.shard-0000").unlink()
    (tmp_path / "r.jsonl.shard-0001").unlink()
    done = evaluate(model, "shapes:size=2,frames=4,height=32,width=32", out, progress=False)
    assert done.finished


def test_a_place_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path, monkeypatch: Any) -> None:
    def never(*arguments: Any) -> None:
        raise AssertionError("work was begun")

    monkeypatch.setattr(revseg.ReVSeg, "resolved", never)
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file" / "r.jsonl", tmp_path, tmp_path / ("x" * 300), tmp_path / "a\0b"):
        with pytest.raises(OutputError):
            evaluate(revseg.ReVSeg(), "shapes:size=1", out)
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(OutputError, match="No space left"):
        evaluate(revseg.ReVSeg(), "shapes:size=1", tmp_path / "r.jsonl")
    with pytest.raises(OutputError, match="No space left"):
        check_folder(tmp_path / "new")


def full(*arguments: Any, **options: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


LIMITED = """
import json, resource, sys
from pathlib import Path
import numpy as np
import torch
import revseg
from revseg import output
from revseg.errors import OutputError, RevsegError
from revseg.evaluation import Results, evaluate, write_submission
from revseg.report import write_site
from revseg.training.checkpoint import save_checkpoint
from revseg.training.curves import draw_curves
from revseg.training.log import append_rows, cut_rows
from revseg.video import Video


def main():
    out = Path(sys.argv[1])
    model = revseg.ReVSeg(policy="oracle", tracker="fill_box", num_frames=2)
    world = "shapes:size=6,frames=6,height=64,width=64"
    done = evaluate(model, world, out / "whole.jsonl", progress=False)
    append_rows(out / "log.jsonl", [{"step": step, "reward": 1.0} for step in range(400)])
    noise = np.random.default_rng(0).integers(0, 255, (30, 64, 64, 3), np.uint8)
    video = Video.open(noise)
    random = revseg.ReVSeg(policy="random", tracker="fill_box", num_frames=2)
    result = random.segment(video, "it")
    net = torch.nn.Linear(200, 200)
    large = np.array([[str(i) for i in range(5000)]])
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, resource.RLIM_INFINITY))
    tries = {
        "rows": lambda: evaluate(model, world, out / "r.jsonl", progress=False),
        "overlay": lambda: result.save(out / "result", video),
        "site": lambda: write_site(done, out / "site"),
        "pictures": lambda: write_site(done, out / "pictures", dataset=world),
        "archive": lambda: write_submission(done, out / "a.zip", "mevis"),
        "text": lambda: output.write_text(out / "a.csv", "x" * 9000),
        "log": lambda: append_rows(out / "new.jsonl", [{"step": step} for step in range(2000)]),
        "cut log": lambda: cut_rows(out / "log.jsonl", 399),
        "checkpoint": lambda: save_checkpoint(out / "checkpoint.pt", net, [], 1),
        "curves": lambda: draw_curves([out], out / "curves.png"),
    }
    for name, act in tries.items():
        try:
            act()
            print(name, "written")
        except OutputError as error:
            print(name, "refused" if str(out) in str(error) and ".part" not in str(error) else error)
        except BaseException as error:
            print(name, repr(error))

if __name__ == "__main__":  # workers load this file too
    main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on files there")
def test_a_disk_that_takes_no_more_is_an_output_error_everywhere(tmp_path: Path) -> None:
    """A limit on a file's size stands for the full disk: every writer meets it in the midst of its work."""
    script, out = tmp_path / "limited.py", tmp_path / "out"
    script.write_text(LIMITED)
    out.mkdir()
    done = subprocess.run([sys.executable, str(script), str(out)], capture_output=True, text=True, check=False)
    told = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())
    assert done.returncode == 0, done.stderr
    assert set(told.values()) == {"refused"}, done.stdout + done.stderr
    assert "Exception ignored" not in done.stderr
    left = sorted(item.name for item in out.iterdir())
    assert left == [
        "log.jsonl",
        "new.jsonl",
        "r.jsonl.shard-0000",
        "whole.jsonl",
    ]


def test_a_second_training_in_one_folder_is_refused_before_a_model_is_loaded(tmp_path: Path) -> None:
    config = TrainConfig(steps=1, queries_per_step=1, group_size=2)
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom revseg.locks import hold\n"
        "held = hold(Path(sys.argv[1], '.lock'), 'it')\nprint('held', flush=True)\ntime.sleep(60)"
    )
    first = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert first.stdout is not None
    first.stdout.readline()
    model = revseg.ReVSeg(policy="there_is_none")
    try:
        with pytest.raises(OutputError, match="another process is writing the training run in"):
            revseg.train(model, "shapes:size=2", tmp_path, config)
    finally:
        first.kill()
        first.communicate()
    with pytest.raises(RevsegError, match="there_is_none"):  # the killed one's lock holds nobody up
        revseg.train(model, "shapes:size=2", tmp_path, config)
    assert not (tmp_path / ".lock").exists()
