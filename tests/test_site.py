"""The site of results, without a browser: all is there, in small files, and what a model wrote is text only."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from made_rows import failed, made_row, made_turn, square, write_results
from PIL import Image
from typer.testing import CliRunner

import revseg
from revseg.cli.app import app
from revseg.errors import InputError, OutputError, SpecError
from revseg.evaluation import Results
from revseg.evaluation.results import Row
from revseg.report import site, write_site
from revseg.report.site_images import choose_frames
from revseg.report.svg_outlines import WIDTH, outline

WORLD = "shapes:size=3,frames=8,height=32,width=48"
HOSTILE = (
    "</script><script>document.title='hacked'</script>",
    "<img src=x onerror=document.title='hacked'>",
    "\"'`${document.title='hacked'}\\\n\u2028",
    "../../../../tmp/x\x00/..\\..",
    "javascript:document.title='hacked'",
    "\U0001f600 \U00020000 \ud83d",
    "\u202eright to left\u202c \u05d0\u05d1 \x1b[2J",
    "__proto__",
)


def held(path: Path) -> Any:
    """What a data script hands over."""
    found = re.fullmatch(r"revseg\.(?:start|lines|sample)\((?:\d+, )?(.*)\);\n", path.read_text("ascii"))
    assert found is not None
    return json.loads(found[1])


def hostile_rows() -> Iterator[dict[str, Any]]:
    for i, text in enumerate(HOSTILE):
        row = made_row(i, detail=text, meta={"kind": text}, timings={text: 1.0})
        row |= {"video": {**row["video"], "id": text}, "query": {"id": text, "text": text}}
        row["rewards"] = {"values": {text: 0.5}, "weights": {text: 1.0}, "total": 0.5}
        row["rounds"][0]["answer"]["targets"][0]["description"] = text
        row["rounds"][0] |= {"reply": f"<think>{text}</think>{text}", "prompt": text}
        yield row if i % 2 else {**row, "failure": text, "status": text, "rounds": [made_turn([], text, text)]}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("site")
    found = {}
    for policy in ("oracle", "random"):
        found[policy] = folder / f"{policy}.jsonl"
        revseg.evaluate(revseg.ReVSeg(policy=policy, tracker="fill_box"), WORLD, found[policy], progress=False)
    return found


def test_a_run_has_its_list_its_pages_and_its_pictures(real: dict[str, Path], tmp_path: Path):
    out = write_site(real["oracle"], tmp_path / "out", frames=4)
    names = sorted(path.name for path in out.iterdir())
    assert names == [".revseg", "data", "index.html", "pictures", "samples", *sorted(site.SCRIPTS), "style.css"]
    meta, lines = held(out / "data/meta.js"), held(out / "data/0000.js")
    rows = list(Results.open(real["oracle"]))
    assert (meta["total"], meta["pictures"], len(lines)) == (3, "", 3)
    assert meta["figures"][:2] == ["J", "reward"]
    assert [line[:5] for line in lines] == [[i, i, row.video, row.query, row.text] for i, row in enumerate(rows)]
    for i, row in enumerate(rows):
        page = held(out / f"samples/0000/{i:06d}.js")
        run = page["runs"][0]
        assert run["rewards"] == [
            [n, v, row.data["rewards"]["weights"][n]] for n, v in row.data["rewards"]["values"].items()
        ]
        assert [turn["reply"] for turn in run["rounds"]] == [turn["reply"] for turn in row.data["rounds"]]
        assert len(page["frames"]) == len(page["pictures"]) == len(run["masks"]) == 4
        assert all(key in page["frames"] for key in run["keyframes"])
        for address in page["pictures"]:
            with Image.open(out / address) as picture:
                assert picture.size == (48 * 6, 32 * 6)  # enlarged evenly, to 320 at most
            assert (out / address).stat().st_size < 40_000


def test_masks_are_drawn_where_they_are():
    mask = np.zeros((24, 32), bool)
    mask[4:12, 6:20] = True
    points = {tuple(map(float, p.split())) for p in re.split("[ML]", outline(mask)[:-1])[1:]}
    np.testing.assert_allclose(sorted({x for x, _ in points})[0], 6, atol=0.1)
    np.testing.assert_allclose(sorted({x for x, _ in points})[-1], 20, atol=0.1)
    np.testing.assert_allclose([min(y for _, y in points), max(y for _, y in points)], [4, 12], atol=0.1)
    assert outline(np.zeros((24, 32), bool)) == ""
    thin = np.zeros((4000, 4000), bool)
    thin[1000, 1000] = True
    assert outline(thin) == "M1000 1000L1001 1000L1001 1001L1000 1001Z"


@given(hnp.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_an_outline_has_the_area_of_its_mask(mask: np.ndarray):
    # Even-odd: holes and islands in turn; the shoelace formula of each part, holes with the other sign, adds up.
    total = 0.0
    for part in outline(mask).split("Z")[:-1]:
        x, y = np.array([p.split() for p in part[1:].split("L")], float).T
        total += float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
    scale = WIDTH / mask.shape[1]
    edges = mask.size * 4 / scale  # at most TOLERANCE on every pixel's edge
    assert abs(abs(total) - mask.sum()) <= edges + 0.1 * mask.size


def test_nothing_from_outside_is_more_than_text(tmp_path: Path):
    out = write_site(write_results(tmp_path / "<b>&.jsonl", hostile_rows()), tmp_path / "out", frames=3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["<b>&.jsonl", "out"]
    files = [path for path in out.rglob("*") if path.is_file()]
    assert all(re.fullmatch(r"[a-z0-9_./]+", str(path.relative_to(out))) for path in files)
    for path in files:
        if path.parent != out:
            assert b"<" not in path.read_bytes()
    assert "<b>" not in (out / "index.html").read_text()
    lines = held(out / "data/0000.js")
    assert [line[4] for line in lines] == list(HOSTILE)  # as it was, to the last character
    assert [held(out / f"samples/0000/{i:06d}.js")["runs"][0]["rewards"][0][0] for i in range(8)] == list(HOSTILE)


def test_no_address_leads_out_of_the_folder(real: dict[str, Path], tmp_path: Path):
    out = write_site(real["oracle"], tmp_path / "out")
    for path in out.rglob("*"):
        if path.suffix in (".html", ".js", ".css"):
            text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
            assert not re.search(
                r"https?:|//[a-z]+\.|@import|url\(|innerHTML|insertAdjacentHTML|document\.write|eval\(", text
            ), path


def test_two_runs_are_paired_by_their_queries(tmp_path: Path):
    a = write_results(tmp_path / "a.jsonl", [made_row(0), made_row(1), {"index": 2, "failure": "crash:OSError"}])
    b = write_results(tmp_path / "b.jsonl", [{**made_row(1), "index": 0}, made_row(5) | {"index": 1}])
    out = write_site(a, tmp_path / "out", b)
    lines = held(out / "data/0000.js")
    assert [[line[2], *(run and run[0] for run in line[6:])] for line in lines] == [
        ["video 0", "fine", None],
        ["video 1", "fine", "fine"],
        ["", "crash:OSError", None],
        ["video 5", None, "fine"],
    ]
    assert [run is None for run in held(out / "samples/0000/000003.js")["runs"]] == [True, False]


def test_the_list_comes_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(site, "CHUNK", 4)
    out = write_site(write_results(tmp_path / "r.jsonl", [made_row(i) for i in range(11)]), tmp_path / "out", limit=10)
    assert sorted(p.name for p in (out / "data").iterdir()) == ["0000.js", "0001.js", "0002.js", "meta.js"]
    assert [line[0] for i in range(3) for line in held(out / f"data/{i:04d}.js")] == list(range(10))
    assert sorted(str(p.relative_to(out)) for p in (out / "samples").rglob("*.js"))[4] == "samples/0001/000004.js"
    assert (out / "data/0000.js").stat().st_size < 4 * 250  # 10,000 lines: 2.5 MB
    assert (out / "samples/0000/000000.js").stat().st_size < 5000


def test_pictures_only_where_the_videos_are(real: dict[str, Path], tmp_path: Path):
    path = real["oracle"]
    none = write_site(path, tmp_path / "none", frames=0)
    assert not (none / "pictures").exists()
    assert held(none / "samples/0000/000000.js")["frames"] == []
    other = write_site(path, tmp_path / "other", dataset=f"{WORLD},seed=3,split=test")
    assert "another query" in held(other / "samples/0000/000000.js")["note"]
    gone = write_results(tmp_path / "r.jsonl", [made_row(0)], {"name": "mevis", "root": "/nowhere"})
    out = write_site(gone, tmp_path / "gone")
    assert "--root" in held(out / "data/meta.js")["pictures"]
    assert held(out / "samples/0000/000000.js")["pictures"] == [""] * 4
    with pytest.raises((InputError, SpecError)):
        write_site(gone, tmp_path / "asked", root=tmp_path / "nowhere")
    assert not (tmp_path / "asked").exists()


@pytest.mark.parametrize(
    "spec", ["{}/evil.py:world", {"name": "{}/evil.py:world"}, "os:getcwd", "evil.py:world", "mevis:=,", None]
)
def test_a_dataset_that_is_code_is_not_run_because_a_file_names_it(tmp_path: Path, spec: Any):
    (tmp_path / "evil.py").write_text("raise SystemExit('it ran')\n")
    spec = json.loads(json.dumps(spec).replace("{}", str(tmp_path)))
    out = write_site(write_results(tmp_path / "r.jsonl", [made_row(0)], spec), tmp_path / "out")
    assert "--dataset" in held(out / "data/meta.js")["pictures"]
    with pytest.raises((InputError, SpecError)):
        write_site(tmp_path / "r.jsonl", tmp_path / "again", root=tmp_path)


def test_keyframes_are_among_the_frames_shown():
    row = Row(made_row(0, frame_ids=list(range(0, 64, 4))))
    row.data["rounds"][0]["answer"]["targets"][0]["frame_id"] = 12  # type: ignore[index]
    assert choose_frames([row, None], 4) == [0, 12, 40, 60]  # 12 in the place of the nearest, 20
    assert choose_frames([row], 1) == [12]
    assert choose_frames([row], 0) == []
    assert len(choose_frames([row], 99)) == 16
    assert choose_frames([Row({"index": 0, "failure": "crash:OSError"})], 4) == []


def test_whole_or_not_at_all_and_nothing_replaced_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_results(tmp_path / "r.jsonl", [made_row(0), failed(made_row(1))])
    out = write_site(path, tmp_path / "out")
    with pytest.raises(OutputError):
        write_site(path, out)
    write_site(path, out, overwrite=True, limit=1)
    assert held(out / "data/meta.js")["total"] == 1
    (out / "mine.txt").write_text("x")
    with pytest.raises(OutputError):
        write_site(path, out, overwrite=True)
    monkeypatch.setattr(site, "list_row", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_site(path, tmp_path / "half")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "r.jsonl"]


def test_several_objects_and_sparse_truth(tmp_path: Path):
    two = square(2).to_dict()
    two |= {"counts": [*two["counts"], *square(20).to_dict()["counts"]], "scores": [[1.0] * 8] * 2}
    sparse = square().at([0, 4]).to_dict()
    rows = [made_row(0, masks=two, truth=sparse, rewards=None), made_row(1, truth=None, rewards=None)]
    out = write_site(write_results(tmp_path / "r.jsonl", rows), tmp_path / "out")
    page = held(out / "samples/0000/000000.js")
    assert [len(outlines) for outlines in page["runs"][0]["masks"]] == [2, 2, 2, 2]
    assert [truth is None for truth in page["truth"]] == [False, True, False, True]  # frames 0, 2, 4, 6
    assert held(out / "samples/0000/000001.js")["truth"] is None


def test_the_command(real: dict[str, Path], tmp_path: Path):
    words = [
        "report",
        str(real["random"]),
        str(real["oracle"]),
        "--out",
        str(tmp_path / "out"),
        "--frames",
        "2",
        "--limit",
        "2",
    ]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "index.html" in done.stdout
    assert [run["name"] for run in held(tmp_path / "out/data/meta.js")["runs"]] == ["random.jsonl", "oracle.jsonl"]
    assert CliRunner().invoke(app, words).exit_code == 3
    assert CliRunner().invoke(app, [*words, "--overwrite"]).exit_code == 0
