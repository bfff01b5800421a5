"""Saved conversations judged again: other rewards, other parsers, no model."""

import json
from pathlib import Path
from typing import Any

import pytest
from made_rows import failed, made_row, write_results
from typer.testing import CliRunner

import revseg
from revseg.cli.app import app
from revseg.diagnosis import diagnose
from revseg.errors import InputError, OutputError, SpecError
from revseg.evaluation import Results, evaluate, rescore, score
from revseg.registry import names
from revseg.report import write_site

WORLD = "shapes:size=3,frames=6,height=32,width=32"
KEYFRAME = '<think></think><answer>[{"frame_idx": 0, "object description": "it"}]</answer>'
BOX = '[{"bbox_2d": [0, 0, 420, 420]}]'


def model(**options: Any) -> revseg.ReVSeg:
    policy = {"name": "scripted", "replies": [KEYFRAME, BOX]}
    return revseg.ReVSeg(policy=policy, tracker="fill_box", plan="two_rounds", **options)


def lenient(text: str, shown: revseg.Clip, /) -> revseg.Answer:
    """Reads the box as half the size."""
    found = revseg.build("parser", "box_json")(text, shown)
    targets = tuple(revseg.Target(t.frame_id, t.description, t.boxes / 2) for t in found.targets)
    return revseg.Answer(targets, found.error)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return evaluate(model(), WORLD, tmp_path / "results.jsonl").path


def test_the_same_rewards_come_out_of_the_file(file: Path) -> None:
    found = rescore(file)
    assert found.now == found.before
    assert (found.rows, found.crashed, found.unjudged, found.changed) == (3, 0, 0, 0)
    assert set(found.now) == {"format", "temporal", "spatial", "total"}


def test_other_rewards_are_what_a_model_with_them_would_have_given(file: Path, tmp_path: Path) -> None:
    weights = dict.fromkeys(names("reward"), 0.5)
    rescore(file, weights, out=tmp_path / "other.jsonl")
    fresh = evaluate(model(rewards=weights), WORLD, tmp_path / "f.jsonl")
    again = Results.open(tmp_path / "other.jsonl")
    assert [{**row.data, "timings": {}} for row in again] == [{**row.data, "timings": {}} for row in fresh]
    assert again.header["spec"] == fresh.header["spec"]
    with pytest.raises(InputError, match="another run"):  # rows of other parsers would mix with it
        evaluate(model(rewards=weights), WORLD, again.path)


def test_another_parser_gives_other_groundings_and_no_masks(file: Path, tmp_path: Path) -> None:
    found = rescore(file, parsers={"box": lenient}, out=tmp_path / "half.jsonl")
    assert found.changed == 3
    again = Results.open(tmp_path / "half.jsonl")
    (row,) = [row for row in again if row.index == 0]
    assert row.data["groundings"][0]["boxes"] == [[0.0, 0.0, 0.25, 0.25]]
    assert row.masks is None
    assert "lenient" in json.dumps(again.header["rescored"])
    assert score(again).missing == 3
    diagnose(again.path)
    write_site(again.path, tmp_path / "site")
    assert rescore(file, parsers={"2": "box_json", "keyframe": "keyframe_json"}).changed == 0


def test_a_conversation_that_had_failed_stays_where_it_ended(tmp_path: Path) -> None:
    rows = [made_row(0), failed(made_row(1)), made_row(2, failure="crash:ValueError", rounds=None)]
    rows[1]["rounds"][0]["reply"] = KEYFRAME
    path = write_results(tmp_path / "r.jsonl", rows)
    found = rescore(path, {"format": 2.0}, {"1": "keyframe_json"}, out=tmp_path / "out.jsonl")
    assert (found.rows, found.crashed) == (3, 1)
    again = list(Results.open(tmp_path / "out.jsonl"))
    assert (again[1].failure, again[1].data["status"]) == (None, "open")
    assert again[2].data == rows[2]
    assert (again[0].failure or "").startswith("round ")  # what a row made by hand replied is no answer


def test_what_cannot_be_done_is_said(file: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'boxes'; expected one of: 1, 2, box, keyframe"):
        rescore(file, parsers={"boxes": "box_json"}, out=tmp_path / "no.jsonl")
    assert not (tmp_path / "no.jsonl").exists()
    with pytest.raises(InputError, match="choose another"):
        rescore(file, out=file, overwrite=True)
    (tmp_path / "there").write_text("mine")
    with pytest.raises(OutputError):
        rescore(file, out=tmp_path / "there")
    lines = file.read_text().splitlines()
    header = json.loads(lines[0])
    header["spec"]["rewards"] = {f"{tmp_path}/evil.py:run": 1.0}
    (tmp_path / "foreign.jsonl").write_text("\n".join([json.dumps(header), *lines[1:], ""]))
    (tmp_path / "evil.py").write_text("raise SystemExit('ran')")
    with pytest.raises(SpecError, match="--trust"):
        rescore(tmp_path / "foreign.jsonl")
    assert rescore(tmp_path / "foreign.jsonl", {"format": 1}).rows == 3


def test_the_command(file: Path, tmp_path: Path) -> None:
    def run(*arguments: Any) -> Any:
        return CliRunner().invoke(app, ["rescore", str(file), *map(str, arguments)])

    done = run("--reward", "iou", "--reward", "spatial:soft=True", "--parser", "box=box_json")
    assert done.exit_code == 0, done.output
    assert [line.split()[0] for line in done.stdout.splitlines()[1:4]] == ["iou", "spatial:soft=True", "format"]
    found = json.loads(run("--reward", "fig4", "--json", "--out", tmp_path / "o.jsonl").stdout)
    assert found["rewards"]["format"] == found["before"]["format"]
    assert Results.open(tmp_path / "o.jsonl").header["spec"]["rewards"]["spatial"] == 0.6
    assert run("--parser", "keyframe_json").exit_code == 2
    assert run("--reward", "nothing").exit_code == 2
