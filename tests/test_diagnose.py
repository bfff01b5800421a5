"""`diagnose`: each failure signature is found where it was put, and nowhere else, with the rows that show it."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from made_rows import failed, made_rewards, made_row, made_turn, placed, square, write_results
from typer.testing import CliRunner

import revseg
from revseg.cli.app import app
from revseg.diagnosis.diagnose import Diagnosis
from revseg.diagnosis.error_attribution import stages_of
from revseg.errors import InputError
from revseg.evaluation.results import Results, Row
from revseg.failures import Signature
from revseg.masks import MaskTrack

ROOT = Path(revseg.__file__).parent
ON, OFF = [4 / 32, 4 / 24, 12 / 32, 12 / 24], [20 / 32, 4 / 24, 28 / 32, 12 / 24]
EARLY = square(there=(4, 5, 6, 7)).to_dict()  # not visible on frames 0 and 2


def diagnosed(tmp_path: Path, rows: list[dict[str, Any]]) -> Diagnosis:
    return revseg.diagnose(write_results(tmp_path / "r.jsonl", rows))


def found(diagnosis: Diagnosis) -> dict[str, Signature]:
    return {signature.kind: signature for signature in diagnosis.found}


def test_perfect_rows_have_no_signature(tmp_path: Path):
    diagnosis = diagnosed(tmp_path, [made_row(i) for i in range(4)])
    assert diagnosis.found == ()
    assert all(signature.found is False for signature in diagnosis.signatures)
    assert diagnosis.kinds == {"fine": 4}
    assert "not found" in diagnosis.text()


def test_the_figures_of_one_row_by_hand():
    # The target's box is 8x8 on frames 4 and 6 and hidden on 0 and 2; the box lies half a side to the right of it.
    row = placed(made_row(0, truth=EARLY, masks=square(8, there=(4, 5)).to_dict()), 4, [8 / 32, 4 / 24, 16 / 32, 0.5])
    stages = stages_of(Row(row))
    assert (stages.shown, stages.absent, stages.keyframe, stages.by_chance) == (True, False, 1.0, 0.5)
    assert stages.box == pytest.approx(1 / 3)  # 4 of 8 columns in common: 32 / (64 + 64 - 32)
    assert stages.j == pytest.approx((4 * 1 + 2 / 3) / 8)  # frames 0-3: both empty; 4, 5: as the box; 6, 7: lost
    assert stages.covered == pytest.approx((1 / 3 + 1 / 3) / 4)
    assert (stages.lost, stages.gone) == (0.5, 1.0)


def test_replies_that_cannot_be_read(tmp_path: Path):
    rows = [failed(made_row(i)) if i < 2 else made_row(i) for i in range(6)]
    diagnosis = diagnosed(tmp_path, rows)
    signature = found(diagnosis)["format low"]
    assert signature.rows == (0, 1)
    assert signature.evidence["mean format"] == pytest.approx(4 / 6)
    assert signature.evidence["round 1: no_json"] == 2
    assert "0.9" in signature.rule
    assert diagnosis.kinds == {"fine": 4, "round 1: no_json": 2}
    assert [example.index for example in signature.examples] == [0, 1]


def test_hidden_and_tiny_keyframes(tmp_path: Path):
    nothing = MaskTrack.empty((24, 32), range(8)).to_dict()
    hidden = placed(made_row(0, truth=EARLY, masks=nothing), 0, ON)
    grows = {**square().to_dict(), "counts": [list(square(side=2).counts[0][:4] + square(side=12).counts[0][4:])]}
    grows["counts"] = [[count.decode() for count in grows["counts"][0]]]
    tiny = placed(made_row(1, truth=grows, masks=nothing), 0, ON)
    diagnosis = diagnosed(tmp_path, [hidden, tiny, *(made_row(i) for i in range(2, 6))])
    signature = found(diagnosis)["keyframes hidden or tiny"]
    assert signature.rows == (0, 1)
    assert (signature.evidence["hidden"], signature.evidence["tiny"]) == (1, 1)
    assert signature.evidence["share"] == pytest.approx(2 / 6)
    assert signature.evidence["by chance"] == pytest.approx((0.5 + 0.5) / 6)  # half of the frames of the two rows
    assert diagnosis.kinds["keyframe hidden"] == diagnosis.kinds["keyframe tiny"] == 1


def test_boxes_off_target_and_numbers_read_the_wrong_way(tmp_path: Path):
    missed = [placed(made_row(i, masks=square(20).to_dict()), 2, OFF) for i in range(3)]
    signature = found(diagnosed(tmp_path, missed))["boxes off target"]
    assert signature.evidence["no overlap"] == 3
    assert "thousandths" not in signature.advice
    swapped = [placed(made_row(i, masks=square(20).to_dict()), 2, [ON[1], ON[0], ON[3], ON[2]]) for i in range(3)]
    signature = found(diagnosed(tmp_path, swapped))["boxes off target"]
    assert "x and y swapped" in signature.advice
    assert signature.evidence["mean IoU as x and y swapped"] == pytest.approx(1, abs=1e-6)
    # The picture shown was 64 x 48; numbers of thousandths, read as its pixels, come out 1000/64 and 1000/48 too large.
    small = [v * s / 1000 for v, s in zip(ON, (64, 48, 64, 48), strict=True)]
    shrunk = [placed(made_row(i, masks=square(20).to_dict()), 2, small) for i in range(3)]
    assert "pixels of the picture" in found(diagnosed(tmp_path, shrunk))["boxes off target"].advice


def test_format_high_and_task_low(tmp_path: Path):
    rewards = {"format": 1.0, "temporal": 0.9, "spatial:soft=True": 0.1}
    rows = [made_row(i, rewards=made_rewards(**rewards)) for i in range(3)]
    signature = found(diagnosed(tmp_path, rows))["format high, task reward low"]
    assert signature.evidence["mean spatial:soft=True"] == pytest.approx(0.1)
    assert signature.examples[0].why == "spatial:soft=True 0.10"
    low = [made_row(i, rewards=made_rewards(format=1.0, temporal=0.31, spatial=0.31)) for i in range(3)]
    assert not found(diagnosed(tmp_path, low))


def test_a_tracker_that_loses_the_object(tmp_path: Path):
    gone = made_row(0, masks=square(there=(0, 1, 2)).to_dict())
    elsewhere = {
        **square(20).to_dict(),
        "counts": [[c.decode() for c in square().counts[0][:3] + square(20).counts[0][3:]]],
    }
    diagnosis = diagnosed(tmp_path, [gone, made_row(1, masks=elsewhere), *(made_row(i) for i in range(2, 8))])
    signature = found(diagnosis)["tracker loses the object"]
    assert set(signature.rows) == {0, 1}
    assert signature.evidence["lost frames with an empty mask"] == pytest.approx(0.5)
    assert diagnosis.kinds == {"fine": 6, "tracker lost it": 2}


def test_absence_misjudged_and_crashes(tmp_path: Path):
    nothing = MaskTrack.empty((24, 32), range(8)).to_dict()
    denied = made_row(0, status="absent", rounds=made_row(0)["rounds"][:0], groundings=[], masks=nothing)
    crashed = {"index": 2, "failure": "crash:ValueError", "status": "crash:ValueError", "detail": "Traceback"}
    rows = [denied, made_row(1, truth=nothing), crashed, made_row(3)]
    diagnosis = diagnosed(tmp_path, rows)
    assert found(diagnosis)["absence misjudged"].rows == (0, 1)
    assert found(diagnosis)["crashes"].rows == (2,)
    assert diagnosis.kinds["said absent"] == diagnosis.kinds["said present"] == 1


def test_without_a_truth_it_says_that_it_cannot_tell(tmp_path: Path):
    diagnosis = diagnosed(tmp_path, [made_row(i, truth=None, rewards=None) for i in range(2)])
    unknown = [signature.kind for signature in diagnosis.signatures if signature.found is None]
    assert set(unknown) == {
        "absence misjudged",
        "keyframes hidden or tiny",
        "boxes off target",
        "format high, task reward low",
        "tracker loses the object",
    }
    assert "cannot tell" in diagnosis.text()
    assert diagnosis.kinds == {"not judged": 2}


def test_text_from_a_file_cannot_write_over_a_terminal(tmp_path: Path):
    row = failed(made_row(0, query={"id": "q", "text": "\x1b[2Jgone\u202e \ud800"}))
    text = diagnosed(tmp_path, [row]).text()
    assert "gone" in text
    assert not set(text) & set("\x1b\u202e\ud800")


def log(path: Path, **columns: Any) -> Path:
    rows = [
        {"step": i, "reward": 1.0, **{k: v[i] if isinstance(v, list) else v for k, v in columns.items()}}
        for i in range(40)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        ({"grad_norm": [None if i == 7 else 1.0 for i in range(40)]}, "not finite"),
        ({"ratio": 1.2}, "rollouts and training disagree"),
        ({"flat_groups": 0.95}, "no signal"),
        ({"cut_off": 0.6}, "replies cut off"),
        ({"reward/format": 0.4}, "format low"),
        ({"reward/format": 0.99, "reward/spatial": 0.2}, "format high, task reward low"),
        ({"reward/temporal:soft=False": 0.05}, "keyframes hidden or tiny"),
        ({"reward/spatial": 0.05}, "boxes off target"),
    ],
)
def test_every_warning_of_training_has_its_name(tmp_path: Path, columns: dict[str, Any], name: str):
    diagnosis = revseg.diagnose(log(tmp_path / "log.jsonl", **columns))
    assert [signature.kind for signature in diagnosis.found] == [name]
    signature = diagnosis.found[0]
    assert (
        signature.evidence["steps"]
        == len(signature.rows)
        == (1 if name == "not finite" else signature.evidence["steps"])
    )
    assert signature.evidence["at the end of the log"] is (name != "not finite")
    assert signature.advice


def test_a_log_names_steps_and_the_rollouts_written_then(tmp_path: Path):
    low = [0.9] * 10 + [0.2] * 30
    log(tmp_path / "log.jsonl", **{"reward/format": low})
    samples = [{"step": s, "query": f"at {s}", "error": "round 1: no_json", "rewards": {}} for s in (0, 30)]
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(s) + "\n" for s in samples) + '{"step": 3')
    signature = found(revseg.diagnose(tmp_path))["format low"]
    # The mean of 20 steps is 0.515 at step 20 and 0.48 at step 21.
    assert (signature.evidence["first"], signature.evidence["last"]) == (21, 39)
    assert [e.about for e in signature.examples] == ["step 21", "step 39", "samples.jsonl, step 30: at 30"]


def test_what_is_neither_is_refused(tmp_path: Path):
    for name, text in {"a": "", "b": "[1]\n", "c": "{}\n", "d": "\x00"}.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError):
            revseg.diagnose(tmp_path / name)
    with pytest.raises(InputError):
        revseg.diagnose(tmp_path / "missing")
    empty = write_results(tmp_path / "empty.jsonl", [], samples=3)
    assert "nothing to judge" in revseg.diagnose(empty).text()


def test_the_command(tmp_path: Path):
    path = write_results(tmp_path / "r.jsonl", [failed(made_row(0)), made_row(1)])
    done = CliRunner().invoke(app, ["diagnose", str(path)])
    assert done.exit_code == 0, done.output
    assert "FORMAT LOW" in done.stdout
    told = json.loads(CliRunner().invoke(app, ["diagnose", str(path), "--json"]).stdout)
    assert told["found"] == ["format low"]
    assert not any(isinstance(v, float) and math.isnan(v) for s in told["signatures"] for v in s["evidence"].values())
    assert CliRunner().invoke(app, ["diagnose", str(tmp_path / "no")]).exit_code == 3


def test_a_well_formed_absence_is_not_low_in_format(tmp_path: Path):
    nothing = MaskTrack.empty((24, 32), range(8)).to_dict()
    rows = [
        made_row(i, status="absent", rounds=[made_turn([], "<answer>[]</answer>")], groundings=[], truth=nothing)
        for i in range(3)
    ]
    assert [stages_of(Row(row)).form for row in rows] == [1.0] * 3
    diagnosis = diagnosed(tmp_path, [{**row, "masks": nothing} for row in rows])
    assert diagnosis.found == ()
    assert diagnosis.kinds == {"fine": 3}


def test_replies_cut_off_are_counted(tmp_path: Path):
    cut = [{**turn, "finish_reason": "length"} for turn in made_row(0)["rounds"]]
    rows = [made_row(0, rounds=cut), failed(made_row(1)), *(made_row(i) for i in range(2, 8))]
    rows[1]["rounds"] = [{**turn, "finish_reason": "length"} for turn in rows[1]["rounds"]]
    diagnosis = diagnosed(tmp_path, rows)
    signature = found(diagnosis)["replies cut off"]
    assert signature.rows == (1, 0), "those that could not be read come first"
    assert (signature.evidence["cut off"], signature.evidence["not readable"]) == (2, 1)
    assert "--max-new-tokens" in signature.advice
    assert Results.open(tmp_path / "r.jsonl").summary()["cut_off"] == 2
