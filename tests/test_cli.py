"""The command line on real mp4 files: what it writes, what it prints, how it ends."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import revseg
from revseg.cli.app import app
from revseg.cli.data import data
from revseg.cli.policy import given, unit_box
from revseg.errors import InputError, SpecError
from revseg.masks import MaskTrack
from revseg.registry import REGISTRIES, names
from revseg.video import Video


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def clip(make_video: Callable[..., Path]) -> Path:
    """20 frames of 64 x 48."""
    return make_video("cli.mp4", 20)


def boxes_of(folder: Path, frame: int) -> list[list[int]]:
    """Pixel boxes [x1, y1, x2, y2] of the masks of one frame, an object each."""
    places = sorted(p for p in (folder / "masks").iterdir() if p.is_dir()) or [folder / "masks"]
    found = []
    for place in places:
        y, x = np.nonzero(np.array(Image.open(place / f"{frame:05d}.png")))
        found.append([int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1])
    return found


def test_a_box_is_followed_and_everything_is_written(clip: Path, tmp_path: Path):
    out = tmp_path / "out"
    done = run(
        "segment", clip, "the thing", "--out", out, "--tracker", "fill_box", "--keyframe", 7, "--box", "8,6,40,30"
    )
    assert done.exit_code == 0, done.output
    assert {p.name for p in out.iterdir()} >= {"masks", "masks.json", "overlay.mp4", "reasoning.json", "reasoning.html"}
    assert len(list((out / "masks").iterdir())) == 20
    assert boxes_of(out, 7) == [[8, 6, 40, 30]]
    assert json.loads((out / "reasoning.json").read_text())["groundings"][0]["frame_id"] == 7
    assert "1 object, on 20 of 20 frames" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--box", "0.125,0.125,0.625,0.625"], {0: [[8, 6, 40, 30]]}),  # fractions; frame 0
        (["--keyframe", 2, "--box", "8,6,40,30", "--box", "0,0,10,10"], {2: [[8, 6, 40, 30], [0, 0, 10, 10]]}),
        (
            ["--keyframe", 2, "--box", "8,6,40,30", "--keyframe", 15, "--box", "0,0,10,10"],
            {2: [[8, 6, 40, 30], [0, 0, 10, 10]]},
        ),
        (
            ["--keyframe", 2, "--box", "8,6,40,30", "--keyframe", 15, "--box", "0,0,10,10", "--same-object"],
            {2: [[8, 6, 40, 30]], 15: [[0, 0, 10, 10]]},
        ),
    ],
)
def test_boxes_and_keyframes_pair_up(clip: Path, tmp_path: Path, arguments: list[Any], expected: dict[int, Any]):
    done = run("segment", clip, "it", "--out", tmp_path / "out", "--tracker", "fill_box", *arguments)
    assert done.exit_code == 0, done.output
    for frame, boxes in expected.items():
        assert boxes_of(tmp_path / "out", frame) == boxes


def test_json_is_for_machines(clip: Path, tmp_path: Path):
    done = run("segment", clip, "it", "--out", tmp_path / "o", "--policy", "random", "--tracker", "fill_box", "--json")
    assert done.exit_code == 0, done.output
    held = json.loads(done.stdout)
    assert held["status"] == "found"
    assert held["spec"]["policy"] == "random"
    assert len(held["frame_ids"]) == 16
    short = run(
        *("segment", clip, "it", "--out", tmp_path / "p", "--policy", "random", "--tracker", "fill_box"),
        *("--json", "--frames", 3, "--sampler", "stride:step=2"),
    )
    assert json.loads(short.stdout)["frame_ids"] == [0, 2, 4]


def scripted(tmp_path: Path, reply: str) -> str:
    """The spec of a policy of the user's own, in a file."""
    source = tmp_path / "mine.py"
    source.write_text(
        "from revseg.types import Reply\n\nclass Mine:\n    def reply(self, rollouts, prompts, *, sampling):\n"
        f"        return [Reply({reply!r})] * len(rollouts)\n"
    )
    return f"{source}:Mine"


def test_absent_is_an_answer_and_an_unreadable_reply_is_not(clip: Path, tmp_path: Path):
    base = ["segment", clip, "it", "--tracker", "fill_box", "--policy"]
    absent = run(*base, scripted(tmp_path, "<think></think><answer>[]</answer>"), "--out", tmp_path / "a")
    assert absent.exit_code == 0
    assert "not in the video" in absent.stdout
    garbled = run(*base, scripted(tmp_path, "hmm"), "--out", tmp_path / "b")
    assert garbled.exit_code == 4
    assert "round 1" in garbled.stdout
    for folder in ("a", "b"):
        masks = MaskTrack.from_dict(json.loads((tmp_path / folder / "masks.json").read_text()))
        assert len(masks) == 20
        assert not masks.visible.any()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["segment", "none.mp4", "x", "--out", "o"], 3, "none.mp4"),
        (["segment", "{clip}", "x", "--out", "o", "--box", "1,2,3"], 3, "x1,y1,x2,y2"),
        (["segment", "{clip}", "x", "--out", "o", "--box", "1,2,99,3"], 3, "64x48"),
        (["segment", "{clip}", "x", "--out", "o", "--box", "1,2,3,4", "--keyframe", "20"], 3, "--keyframe in 0..19"),
        (["segment", "{clip}", " ", "--out", "o", "--policy", "random"], 3, "query is empty"),
        (["segment", "{clip}", "x", "--out", "o", "--policy", "randm"], 2, "random"),
        (["segment", "{clip}", "x", "--out", "o", "--policy", "random", "--tracker", "fil_box"], 2, "fill_box"),
        (["segment", "{clip}", "x", "--out", "o", "--policy", "random", "--box", "1,2,3,4"], 2, "given"),
        (["segment", "{clip}", "x", "--out", "o", "--keyframe", "1"], 2, "--box"),
        (["segment", "{clip}", "x", "--out", "o", "--box", "1,2,3,4", "--frames", "3"], 2, "--frames"),
        (["segment", "{clip}", "x"], 2, "--out"),
        (["list", "trackers"], 2, "tracker"),
        (["unheard"], 2, "unheard"),
    ],
)
def test_a_mistake_ends_with_its_code_and_one_clear_line(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, words: str
):
    monkeypatch.chdir(tmp_path)
    done = run(*(argument.format(clip=clip) for argument in arguments))
    assert done.exit_code == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_results_are_replaced_only_when_asked(clip: Path, tmp_path: Path):
    command = ["segment", clip, "x", "--out", tmp_path / "o", "--tracker", "fill_box", "--box"]
    assert run(*command, "8,6,40,30").exit_code == 0
    again = run(*command, "0,0,10,10")
    assert again.exit_code == 3
    assert "exists" in again.stderr
    assert boxes_of(tmp_path / "o", 0) == [[8, 6, 40, 30]]
    assert run(*command, "0,0,10,10", "--overwrite").exit_code == 0
    assert boxes_of(tmp_path / "o", 0) == [[0, 0, 10, 10]]


def test_a_taken_folder_is_refused_before_the_work(clip: Path, tmp_path: Path):
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "mine.txt").write_text("x")
    (tmp_path / "never.py").write_text("class Never:\n    def __init__(self):\n        raise SystemExit('was built')\n")
    done = run("segment", clip, "x", "--out", tmp_path / "o", "--policy", f"{tmp_path}/never.py:Never")
    assert done.exit_code == 3
    assert "exists" in done.stderr


def test_the_list_names_every_part_with_its_options():
    held = json.loads(run("list", "--json").stdout)
    assert {(part["kind"], part["name"]) for part in held} == {
        (kind, name) for kind in REGISTRIES for name in names(kind)
    }
    temporal = next(part for part in held if part["name"] == "temporal")
    assert temporal["options"] == {"soft": "True"}
    assert temporal["summary"]
    text = run("list", "reward").stdout
    assert "soft=True" in text
    assert "fill_box" not in text


def test_unit_box():
    assert unit_box("16,12,32,48", (48, 64)) == [0.25, 0.25, 0.5, 1.0]
    assert unit_box("0,0,1,1", (48, 64)) == [0, 0, 1, 1]  # fractions: the whole picture
    for wrong in ("", "1,2", "a,b,c,d", "nan,0,1,1", "30,10,20,20", "-1,0,5,5", "0,0,65,48"):
        with pytest.raises(InputError, match="expected --box"):
            unit_box(wrong, (48, 64))


def test_numbers_that_do_not_go_together():
    video = Video.open(np.zeros((5, 8, 8, 3), np.uint8))
    with pytest.raises(SpecError, match="2 for 3 boxes"):
        given(["0,0,2,2"] * 3, [0, 1], video, "x")
    with pytest.raises(SpecError, match="of its own"):
        given(["0,0,2,2"] * 2, [1], video, "x", same_object=True)


def test_the_demo_leaves_everything_to_look_at(tmp_path: Path):
    command = ["demo", "--out", tmp_path / "d", "--policy", "oracle", "--tracker", "oracle"]
    done = run(*command)
    assert done.exit_code == 0, done.output
    assert "J&F 1.00" in done.stdout
    assert {p.name for p in (tmp_path / "d").iterdir()} >= {"input.mp4", "masks", "overlay.mp4", "reasoning.html"}
    again = run(*command, "--json")  # the folder of an earlier demo is replaced
    assert again.exit_code == 0
    assert json.loads(again.stdout)["scores"] == {"J&F": 1.0}
    (tmp_path / "d" / "mine.txt").write_text("x")
    refused = run(*command)
    assert refused.exit_code == 3
    assert "mine.txt" in refused.stderr


def test_the_demo_leaves_other_results_alone(clip: Path, tmp_path: Path):
    assert (
        run("segment", clip, "x", "--out", tmp_path / "o", "--tracker", "fill_box", "--box", "8,6,40,30").exit_code == 0
    )
    refused = run("demo", "--out", tmp_path / "o", "--policy", "oracle", "--tracker", "oracle")
    assert refused.exit_code == 3
    assert "exists" in refused.stderr
    assert boxes_of(tmp_path / "o", 0) == [[8, 6, 40, 30]]


def test_the_installed_command(clip: Path, tmp_path: Path):
    command = [sys.executable, "-c", "from revseg.cli.app import main; main()"]
    version = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.strip() == f"revseg {revseg.__version__}"
    arguments = ["segment", str(clip), "x", "--out", str(tmp_path / "o"), "--tracker", "fill_box", "--box", "1,2,30,40"]
    subprocess.run([*command, *arguments], check=True, capture_output=True, cwd=tmp_path)
    assert boxes_of(tmp_path / "o", 3) == [[1, 2, 30, 40]]
    missing = subprocess.run([*command, "segment", "no.mp4", "x", "--out", "p"], capture_output=True, text=True)
    assert missing.returncode == 3
    assert missing.stderr.startswith("revseg: no.mp4")
    assert missing.stderr.count("\n") == 1


def test_the_command_starts_light():
    heavy = "[m for m in ('torch', 'transformers', 'cv2', 'sam2', 'av') if m in sys.modules]"
    code = f"import sys, revseg.cli.app; print({heavy})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


MISTAKES = {  # one of each command, and the exit code that the guard gives it
    "demo": ("--policy nope --out o", 2),
    "segment": ("none.mp4 x --out o --policy random", 3),
    "evaluate": ("nope --out o --policy random", 2),
    "filter": ("nope --out o", 2),
    "score": ("none.jsonl", 3),
    "rescore": ("none.jsonl", 3),
    "compare": ("none.jsonl none.jsonl", 3),
    "submit": ("none.jsonl --format mevis --out o", 3),
    "convert": ("none.jsonl --to png --out o", 3),
    "diagnose": ("none.jsonl", 3),
    "report": ("none.jsonl --out o", 3),
    "train": ("--out o", 3),
    "rows": ("nope --out o", 2),
    "verl-command": ("none.toml --rows r --out o", 3),
    "list": ("nope", 2),
    "data check": ("nope .", 2),
}


def test_every_command_ends_a_mistake_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    commands = [command.name for command in app.registered_commands]
    assert set(MISTAKES) == {*commands, *(f"data {(c.callback or run).__name__}" for c in data.registered_commands)}
    for command, (arguments, code) in MISTAKES.items():
        done = run(*command.split(), *arguments.split())
        assert (command, done.exit_code, done.stdout) == (command, code, "")
        assert re.fullmatch(r"revseg: .+\n", done.stderr), command


def test_the_summaries_of_the_commands_are_whole():
    summaries = run("--help").stdout.split("Commands:\n")[1].splitlines()
    assert len(summaries) == 16
    assert all(line.endswith(".") and not line.endswith("...") for line in summaries)  # typer cuts long ones off


def test_the_most_tokens_of_a_reply_are_an_option(clip: Path, tmp_path: Path):
    done = run("segment", clip, "x", "--out", tmp_path / "out", "--box", "8,6,40,30", "--max-new-tokens", 33)
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "out" / "reasoning.json").read_text())["spec"]["sampling"]["max_new_tokens"] == 33
    assert run("segment", clip, "x", "--out", tmp_path / "no", "--max-new-tokens", 0).exit_code == 2


def test_a_plan_is_an_option(clip: Path, tmp_path: Path):
    done = run("segment", clip, "x", "--out", tmp_path / "o", "--policy", "random", "--plan", "per_object", "--json")
    assert done.exit_code == 0, done.output
    assert [turn["round"] for turn in json.loads(done.stdout)["rounds"]] == ["keyframe", "box"]
    done = run("segment", clip, "x", "--out", tmp_path / "p", "--policy", "random", "--plan", "per_objct")
    assert done.exit_code == 2
    assert "per_object" in done.stderr
    done = run("segment", clip, "x", "--out", tmp_path / "p", "--box", "1,2,9,9", "--plan", "per_object")
    assert (done.exit_code, "--plan" in done.stderr) == (2, True)


def test_a_tracker_that_needs_a_box_says_so_where_only_words_were_found(clip: Path, tmp_path: Path):
    (tmp_path / "half.py").write_text(
        "from revseg.types import Reply\n"
        "class Half:\n"
        "    defaults = {'plan': [['keyframe', 'keyframe_json']]}\n"
        "    def reply(self, rollouts, prompts, *, sampling):\n"
        '        text = \'<think></think><answer>[{"frame_idx": 1, "label": "dog"}]</answer>\'\n'
        "        return [Reply(text) for _ in rollouts]\n"
    )
    done = run("segment", clip, "x", "--out", tmp_path / "out", "--policy", f"{tmp_path / 'half.py'}:Half")
    assert done.exit_code == 3, done.output
    assert "expected a box or a point on the target" in done.stderr
