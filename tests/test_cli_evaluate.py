"""The commands evaluate, score, compare and submit, end to end on a small world."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import revseg
from revseg.cli.app import app
from revseg.evaluation import Results

WORLD = "shapes:size=3,frames=6,height=32,width=32"


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("cli")
    found = {}
    for policy in ("oracle", "random"):
        found[policy] = folder / f"{policy}.jsonl"
        done = run("evaluate", WORLD, "--out", found[policy], "--policy", policy, "--tracker", "fill_box")
        assert done.exit_code == 0, done.output
    return found


def test_evaluate_writes_a_row_a_query(files: dict[str, Path]):
    assert Results.open(files["oracle"]).finished
    again = run("evaluate", WORLD, "--out", files["oracle"], "--policy", "oracle", "--tracker", "fill_box", "--json")
    assert json.loads(again.stdout)["rows"] == 3
    other = run("evaluate", WORLD, "--out", files["oracle"], "--policy", "random", "--tracker", "fill_box")
    assert other.exit_code == 3
    assert "another run" in other.stderr
    assert other.stderr.count("\n") == 1


def test_crashes_end_with_1_unless_allowed(tmp_path: Path):
    out = tmp_path / "r.jsonl"
    (tmp_path / "bad.py").write_text("def nothing(video, groundings, /):\n    raise RuntimeError('broken')\n")
    words = ["evaluate", f'{WORLD},kinds=["attribute"]', "--out", out, "--policy", "oracle"]
    words += ["--tracker", f"{tmp_path}/bad.py:nothing"]
    done = run(*words)
    assert done.exit_code == 1
    assert "3 x crash:RuntimeError" in done.stdout
    assert run(*words, "--allow-crashes").exit_code == 0
    assert "missing=zero" in run("score", out).stdout


def test_score_prints_text_json_and_tables(files: dict[str, Path], tmp_path: Path):
    assert "missing=zero" in run("score", files["oracle"]).stdout
    table = tmp_path / "queries.csv"
    found = json.loads(run("score", files["oracle"], "--json", "--queries", table).stdout)
    assert found["protocol"] == "generic"
    assert found["overall"] == revseg.evaluation.score(Results.open(files["oracle"])).overall
    assert len(table.read_text().splitlines()) == 4
    assert run("score", files["oracle"], "--csv").stdout.splitlines()[-1].startswith("overall,")
    assert run("score", files["oracle"], "--queries", table).exit_code == 3  # it is there already
    assert run("score", files["oracle"], "--protocol", "nope").exit_code == 2
    assert run("score", tmp_path / "missing.jsonl").exit_code == 3


def test_compare(files: dict[str, Path]):
    found = json.loads(run("compare", files["random"], files["oracle"], "--json").stdout)
    assert found["differences"]["J&F"]["difference"] > 0
    assert "paired queries" in run("compare", files["random"], files["oracle"]).stdout


def test_submit(files: dict[str, Path], tmp_path: Path):
    done = run("submit", files["oracle"], "--format", "mevis", "--out", tmp_path / "s.zip")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "s.zip").exists()
    assert run("submit", files["oracle"], "--format", "revos", "--out", tmp_path / "t.zip").exit_code == 2
    assert run("submit", files["oracle"], "--format", "mevis", "--out", tmp_path / "s.zip").exit_code == 3


def test_a_root_goes_to_the_dataset_and_is_given_once(tmp_path: Path):
    done = run("evaluate", "shapes", "--root", tmp_path, "--out", tmp_path / "r", "--policy", "oracle")
    assert done.exit_code == 2
    assert "'root'" in done.stderr  # shapes has none
    assert run("evaluate", "mevis:root=a", "--root", "b", "--out", tmp_path / "r").exit_code == 2


def test_the_most_tokens_of_a_reply_are_an_option_and_cut_replies_are_told(tmp_path: Path):
    out = tmp_path / "r.jsonl"
    (tmp_path / "cut.py").write_text(
        "from revseg.types import Reply\n"
        "class Cut:\n"
        "    def reply(self, rollouts, prompts, *, sampling):\n"
        "        text = '<think>' + 'so ' * sampling.max_new_tokens\n"
        "        return [Reply(text, finish_reason='length') for _ in rollouts]\n"
    )
    words = ["evaluate", WORLD, "--out", out, "--policy", f"{tmp_path / 'cut.py'}:Cut", "--tracker", "fill_box"]
    done = run(*words, "--max-new-tokens", 5)
    assert done.exit_code == 0, done.output
    assert "3 x round 1: no_answer, 3 with a reply cut off at the token limit" in done.stdout
    results = Results.open(out)
    assert results.header["spec"]["sampling"]["max_new_tokens"] == 5
    row = results.row(0)
    assert (row.cut_off, row.data["rounds"][0]["reply"].count("so")) == (True, 5)
    assert "cut off at the limit of 5 tokens" in row.data["detail"]
