"""benchmarks/paper.py on small trees in the official layouts: every set that is there, the figures, going on."""

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from benchmark_trees import FRAMES, TREES, square, write_binary

import revseg
from revseg.errors import InputError
from revseg.evaluation import Results, score
from revseg.evaluation.published import read_published

FOLDERS = {  # as people name them
    "reason_vos": "ReasonVOS",
    "revos": "ReVOS",
    "ref_youtube_vos": "ref-youtube-vos",
    "ref_davis17": "ref-davis",
    "mevis": "mevis",
    "reason_seg": "ReasonSeg",
    "long_rvos": "long_rvos",
    "groundmore": "GroundMoRe",
    "ref_sav": "ref-sav",
    "fevos": "FeVOS",
    "ok_vos": "ok_vos",
}
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::UserWarning")]


@pytest.fixture
def paper(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "benchmarks")
    return importlib.import_module("paper")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for name in FOLDERS.keys() & TREES.keys():
        (folder / FOLDERS[name]).mkdir(parents=True)
        TREES[name](folder / FOLDERS[name])
    for exp_id in ("0", "1", "10", "2"):
        for index, frame in enumerate(FRAMES):
            write_binary(tmp_path / f"masks/v2/{exp_id}/{frame}.png", square(index))
    return folder


def oracle() -> revseg.ReVSeg:
    return revseg.ReVSeg(policy="oracle", tracker="fill_box")


def by_set(lines: list[Any]) -> dict[tuple[str, str, str, str], Any]:
    return {(line.set, line.split, line.protocol, line.group): line for line in lines}


def test_every_set_is_scored_beside_the_paper(paper: ModuleType, root: Path, tmp_path: Path):
    out = tmp_path / "out"
    work = paper.Work(masks=str(tmp_path / "masks"))
    lines, left_out = paper.run(oracle(), root, out, work, report=lambda line: None)
    assert left_out == ([] if "ok_vos" in TREES else ["ok_vos, test: no such folder"])
    assert {path.name for path in out.iterdir()} == {
        f"{part.label}.jsonl" for part in paper.PARTS if part.name in TREES
    }
    found = by_set(lines)
    assert len(found) == len(lines) == 14 + ("ok_vos" in TREES)
    for (title, split, protocol, group), line in found.items():
        label = next(p.label for p in paper.PARTS if protocol in p.protocols and p.options["split"] == split)
        scores = score(Results.open(out / f"{label}.jsonl"), protocol, draws=0)
        values = scores.overall if group == "overall" else scores.groups[group]
        names = ("gIoU", "cIoU") if protocol == "reason_seg" else ("J", "F", "J&F")
        assert line.ours == {name: 100 * values[name] for name in names}, title
    table = {
        ("ReasonVOS", "test", "reason_vos", "overall"): {"J": 61.8, "F": 67.7, "J&F": 64.8},
        ("ReVOS", "valid", "revos", "overall"): {"J": 59.3, "F": 65.0, "J&F": 62.1},
        ("ReVOS", "valid", "revos", "referring"): {"J": 63.3, "F": 68.1, "J&F": 65.7},
        ("ReVOS", "valid", "revos", "reasoning"): {"J": 55.4, "F": 61.8, "J&F": 58.6},
        ("Ref-YouTube-VOS", "valid", "ref_youtube_vos", "overall"): {"J": 71.1, "F": 75.2, "J&F": 73.1},
        ("Ref-DAVIS17", "valid", "ref_davis17", "overall"): {"J": 77.4, "F": 84.1, "J&F": 80.8},
        ("Ref-DAVIS17", "valid", "ref_davis17_b", "overall"): {"J": 77.4, "F": 84.1, "J&F": 80.8},
        ("MeViS v1", "valid_u", "mevis", "overall"): {"J": 56.1, "F": 63.4, "J&F": 59.8},
        ("ReasonSeg", "val", "reason_seg", "overall"): {"gIoU": 63.7, "cIoU": 59.9},
        ("ReasonSeg", "test", "reason_seg", "overall"): {"gIoU": 59.7, "cIoU": 47.4},
    }
    assert {key: line.paper for key, line in found.items() if line.paper} == table
    why = {key[2]: line.why for key, line in found.items() if line.paper}
    assert why["reason_vos"] == ""  # the same set, split, protocol and number of frames
    assert why["mevis"] == "its split is not stated"
    assert why["ref_davis17"] == "its protocol is not stated"
    assert "server" in why["ref_youtube_vos"]
    printed = paper.table(lines)
    assert printed.count("\n") == len(lines) + 1
    ours = found["ReasonVOS", "test", "reason_vos", "overall"].ours
    assert ours["J"] == pytest.approx(100 * (1 + 1 / 3) / 2)  # the box stays; the square of 8 has moved by 4 on frame 2
    cells = f"2 | 66.7 / 61.8 | {ours['F']:.1f} / 67.7 | {ours['J&F']:.1f} / 64.8 |  |  |  |"
    assert f"| ReasonVOS | test | reason_vos | overall | {cells}" in printed


def test_it_goes_on_and_says_what_is_not_there(paper: ModuleType, root: Path, tmp_path: Path):
    kept = ("ReasonVOS", "mevis", "ref-youtube-vos")
    for folder in root.iterdir():
        if folder.name not in kept:
            folder.rename(tmp_path / f"elsewhere-{folder.name}")
    out = tmp_path / "out"
    first, left_out = paper.run(oracle(), root, out, report=lambda line: None)
    assert "ref_youtube_vos, valid: no masks to score by" in left_out
    assert left_out.count("ok_vos, test: no such folder") == 1
    assert len(first) == 2
    whole = (out / "mevis-valid_u.jsonl").read_bytes()
    lines = whole.splitlines(keepends=True)
    (out / "mevis-valid_u.jsonl").unlink()
    (out / "mevis-valid_u.jsonl.shard-0000").write_bytes(b"".join(lines[:2]) + lines[2][:40])  # killed in row 1
    stamp = (out / "reason_vos-test.jsonl").stat().st_mtime_ns
    again, _ = paper.run(oracle(), root, out, report=lambda line: None)
    assert again == first
    rows = [json.loads(line) for line in (out / "mevis-valid_u.jsonl").read_bytes().splitlines()]
    assert rows[1] == json.loads(lines[1])  # kept, its times included
    assert len(rows) == len(lines)
    assert (out / "reason_vos-test.jsonl").stat().st_mtime_ns == stamp
    part, _ = paper.run(oracle(), root, tmp_path / "less", paper.Work(limit=1), report=lambda line: None)
    assert part[0].why == "the run is of 1 of 2 queries"
    with pytest.raises(InputError, match="holds the benchmarks"):
        paper.run(oracle(), root / "nowhere", out)


def test_the_command_writes_a_record(
    paper: ModuleType, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for folder in root.iterdir():
        if folder.name != "ReasonVOS":
            folder.rename(tmp_path / f"elsewhere-{folder.name}")
    words = ["--root", root, "--out", tmp_path / "out", "--policy", "random", "--tracker", "fill_box", "--frames", "4"]
    monkeypatch.setattr(sys, "argv", ["paper.py", *map(str, words)])
    paper.main()
    printed = capsys.readouterr().out
    assert "it saw 16 frames, the run 4" in printed
    assert "- revos, valid: no such folder" in printed
    record = json.loads((tmp_path / "out/paper.json").read_text())
    assert record["lines"][0]["paper"] == {"J": 61.8, "F": 67.7, "J&F": 64.8}
    assert record["model"]["num_frames"] == 4
    assert len(record["left_out"]) == len(paper.PARTS) - 1


def test_the_table_is_that_of_the_paper(paper: ModuleType):
    """Every figure of the paper's results is of a split that the script scores."""
    mine = [f for f in read_published().figures if all(f[key] == value for key, value in paper.RESULTS.items())]
    splits = {(part.name, part.options["split"]) for part in paper.PARTS}
    assert len(mine) == 9
    for figure in mine:
        assert any(n == figure["set"] and figure["split"] in (s, "not stated") for n, s in splits), figure
