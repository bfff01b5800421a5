"""Published figures: the file, the page made from it, and which of them a run is put beside."""

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from revseg.cli.app import app
from revseg.errors import InputError
from revseg.evaluation import Results
from revseg.evaluation.beside_published import beside_published
from revseg.evaluation.published import FILE, published_page, read_published
from tests.test_scores import results, row

DOCS = Path(__file__).parent.parent / "docs"
MASK = np.ones((2, 10, 14), bool)


def run(folder: Path, dataset: Any, frames: int = 16, rows: int = 2, **header: Any) -> Results:
    made = [row(i, MASK, MASK, type_id=i) for i in range(rows)]
    return results(folder, made, dataset=dataset, spec={"num_frames": frames}, **header)


def test_the_page_is_what_the_file_says():
    assert (DOCS / "published.md").read_text("utf-8") == published_page()


def test_the_paper_s_own_figures_are_there():
    held = {
        (f["set"], f["group"], f["split"]): tuple(f["scores"].values())
        for f in read_published().figures
        if f["source"] == "the paper's results" and f["model"] == "ReVSeg-7B"
    }
    plain = "not stated"
    assert held == {
        ("reason_vos", "overall", plain): (61.8, 67.7, 64.8),
        ("revos", "overall", plain): (59.3, 65.0, 62.1),
        ("revos", "referring", plain): (63.3, 68.1, 65.7),
        ("revos", "reasoning", plain): (55.4, 61.8, 58.6),
        ("ref_youtube_vos", "overall", plain): (71.1, 75.2, 73.1),
        ("ref_davis17", "overall", plain): (77.4, 84.1, 80.8),
        ("mevis", "overall", plain): (56.1, 63.4, 59.8),
        ("reason_seg", "overall", "test"): (59.7, 47.4),
        ("reason_seg", "overall", "val"): (63.7, 59.9),
    }


def test_j_and_f_agree_with_their_mean():
    for figure in read_published().figures:
        scores = figure["scores"]
        if {"J", "F", "J&F"} <= set(scores):
            assert abs((scores["J"] + scores["F"]) / 2 - scores["J&F"]) < 0.11


def test_a_run_is_put_beside_what_was_made_the_same_way(tmp_path: Path):
    found = beside_published(run(tmp_path, {"name": "reason_vos", "root": "x"}))
    assert (found.dataset, found.split, found.frames) == ("reason_vos", "test", 16)
    assert {"ReVSeg-7B", "O3-4B"} <= {figure["model"] for figure in found.comparable}
    assert not found.others
    assert found.elsewhere + len(found.comparable) == len(read_published().figures)
    fewer = beside_published(run(tmp_path, "reason_vos:root=x", frames=8))
    assert {why for figure, why in fewer.others} == {"it saw 16 frames, the run 8"}
    assert "O3-4B" in {figure["model"] for figure in fewer.comparable}  # does not state its frames


@pytest.mark.parametrize(
    ("dataset", "protocol", "why"),
    [
        ("mevis:root=x", None, "its split is not stated"),
        ("ref_youtube_vos:root=x", None, "it was scored by the benchmark's server"),
        ("reason_vos:root=x", "generic", "its protocol is reason_vos, the run's generic"),
        ("revos:root=x,split=train", "revos", "its split is valid, the run's train"),
        ("reason_vos:root=x,exclude=TAO/*", None, "the run leaves out queries"),
        ("ref_davis17:root=x", "generic", "its protocol is not stated"),
        ("ref_davis17:root=x", "generic", "its protocol is ref_davis17_b, the run's generic"),
    ],
)
def test_why_not(tmp_path: Path, dataset: str, protocol: str | None, why: str):
    found = beside_published(run(tmp_path, dataset), protocol)
    assert not found.comparable
    assert any(clause.startswith(why) for _, clause in found.others)
    assert why in found.text()


def test_protocol_b_stands_beside_protocol_b(tmp_path: Path):
    found = beside_published(run(tmp_path, "ref_davis17:root=x"), "ref_davis17_b")
    assert [figure["model"] for figure in found.comparable] == ["O3-2B"]


def test_a_part_of_a_set_is_beside_nothing(tmp_path: Path):
    found = beside_published(run(tmp_path, "reason_vos:root=x", dataset_length=458))
    assert not found.comparable
    assert "the run is of 2 of 458 queries" in {why for _, why in found.others}


def test_another_set_or_none_has_no_figure(tmp_path: Path):
    for dataset in ("shapes:size=2", "who:knows=1", {"name": "who"}, {"no": 1}, None):
        found = beside_published(run(tmp_path, dataset), "generic")
        assert not found.comparable
        assert not found.others
        assert "comparable: none" in found.text()


def test_the_command(tmp_path: Path):
    path = str(run(tmp_path, "reason_vos:root=x").path)
    told = CliRunner().invoke(app, ["compare", path, "--published"])
    assert told.exit_code == 0, told.output
    assert "J&F 100.0" in told.stdout
    assert "O3-4B (4B, trained), overall, frames not stated: J&F 62.9" in told.stdout
    data = json.loads(CliRunner().invoke(app, ["compare", path, "--published", "--json"]).stdout)
    assert data["run"]["overall"]["J&F"] == 1.0
    for wrong in (["compare", path], ["compare", path, path, "--published"]):
        assert CliRunner().invoke(app, wrong).exit_code == 2


@given(cut=st.integers(0, 4000), put=st.binary(max_size=6))
def test_a_damaged_file_is_one_input_error(tmp_path_factory: pytest.TempPathFactory, cut: int, put: bytes):
    path = tmp_path_factory.mktemp("damage") / "p.toml"
    data = FILE.read_bytes()
    path.write_bytes(data[:cut] + put + data[cut + len(put) + 1 :])
    with contextlib.suppress(InputError):  # and nothing else
        read_published(path)


@pytest.mark.parametrize(
    "text",
    ["", "set = 1", "set = []\nfigure = 3", "a = " + "[" * 5000, FILE.read_text("utf-8").replace("= 64.8", "= nan")]
    + [FILE.read_text("utf-8").replace(a, b, 1) for a, b in (("scores", "score"), ('set = "revos"', 'set = "x"'))],
)
def test_wrong_content_is_refused(tmp_path: Path, text: str):
    path = tmp_path / "p.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(InputError, match=r"p\.toml"):
        read_published(path)
