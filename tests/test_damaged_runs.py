"""A training run's folder that is damaged: one error that names the file, before anything in it is changed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_damage import VALUES, changed, outcome, places

from revseg.diagnosis.diagnose import diagnose
from revseg.errors import InputError
from revseg.training.checkpoint import load_checkpoint, save_checkpoint
from revseg.training.curves import read_runs
from revseg.training.folder import claim
from revseg.training.log import cut_rows, read_log

WARNING = {"kind": "no signal", "evidence": {"flat_groups": 0.95}, "rows": [0, 1], "advice": "raise temperature"}
ROW = {"step": 0, "reward": 1.0, "reward/format": 1.0, "ratio": 1.0, "tokens": 20.0, "flat_groups": None}
SAMPLE = {"step": 0, "query": "q", "replies": ["a"], "error": None, "rewards": {"format": 1.0}, "total": 1.0}


class Alone:
    """Accelerate's part in `claim`, of one process."""

    is_main_process = True

    def wait_for_everyone(self) -> None:
        pass


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def all_of(folder: Path) -> dict[str, Callable[[], Any]]:
    return {
        "diagnose": lambda: (diagnose(folder).text(), diagnose(folder / "log.jsonl").to_dict()),
        "curves": lambda: read_runs([folder]),
        "resume": lambda: [cut_rows(folder / name, 10) for name in ("samples.jsonl", "log.jsonl")],
    }


@pytest.mark.parametrize("name", ["log.jsonl", "samples.jsonl"])
def test_every_field_of_a_log(tmp_path: Path, name: str) -> None:
    whole = {
        "log.jsonl": ROW | {"warnings": ["a sentence, as earlier versions wrote", WARNING]},
        "samples.jsonl": SAMPLE,
    }
    bad = {"ratio": 2.0}  # a warning, so that the samples are read
    for place in places(whole[name]):
        for value in VALUES:
            for file, row in whole.items():
                write(tmp_path / file, row | bad, row | {"step": 1} | bad)
            write(tmp_path / name, whole[name] | bad, changed(whole[name] | {"step": 1} | bad, place, value))
            for command, run in all_of(tmp_path).items():
                assert outcome(run) == "", (place, repr(value)[:50], command)


def test_damage_to_a_whole_log(tmp_path: Path) -> None:
    text = write(tmp_path / "log.jsonl", ROW, ROW | {"step": 1}).read_bytes()
    for content in (
        b"",
        b"\n",
        b"[" * 10**5,
        text + b"\xff\n",
        text.decode().encode("utf-16"),
        b"3\n" + text,
        bytes(100),
    ):
        (tmp_path / "log.jsonl").write_bytes(content)
        for command, run in all_of(tmp_path).items():
            assert outcome(run) == "", (content[:20], command)
    with pytest.raises(InputError, match=r"log\.jsonl: expected the log of a training run"):
        read_log(tmp_path / "none" / "log.jsonl")


def test_rows_after_a_damaged_one_are_not_dropped(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps(ROW) + '\n{"step": 1, "lo\n' + json.dumps(ROW | {"step": 2}) + "\n")
    held = path.read_bytes()
    with pytest.raises(InputError, match=r"log\.jsonl: line 2"):
        cut_rows(path, 10)
    assert path.read_bytes() == held


def made() -> tuple[Any, list[Any]]:
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 1)
    return model, [torch.optim.AdamW(model.parameters(), lr=0.1)]


def test_a_checkpoint_that_is_damaged_or_of_another_model(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    model, optimizers = made()
    model(torch.ones(1, 2)).sum().backward()
    optimizers[0].step()
    save_checkpoint(path, model, optimizers, 1)
    whole = path.read_bytes()
    state = torch.load(path)
    other = {
        "lacks a weight": state | {"model": {"weight": state["model"]["weight"]}},
        "has another shape": state | {"model": state["model"] | {"weight": torch.ones(1, 3)}},
        "has no optimizer": state | {"optimizers": []},
        "has no step": {k: v for k, v in state.items() if k != "step"},
        "has a step of another kind": state | {"step": "x"},
        "is a list": [1],
    }
    contents: dict[str, bytes] = {"empty": b"", "cut": whole[:-200], "half": whole[: len(whole) // 2], "text": b"hello"}
    for name, content in contents.items():
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"cannot go on from .*checkpoint\.pt"):
            load_checkpoint(path, *made())
        assert path.read_bytes() == content, name
    for held in other.values():
        torch.save(held, path)
        with pytest.raises(InputError, match=r"cannot go on from .*checkpoint\.pt"):
            load_checkpoint(path, *made())


def test_settings_that_are_damaged(tmp_path: Path) -> None:
    settings = {"model": {"policy": "qwen"}, "dataset": "shapes", "train": {"steps": 3, "lr": 1e-5, "lr_decay": False}}
    for place in places(settings):
        for value in VALUES:
            write(tmp_path / "train.json", changed(settings, place, value))
            assert outcome(lambda: claim(tmp_path, settings, Alone())) == "", (place, repr(value)[:50])
    for content in (b"", b"[" * 10**5, b"\xff\xfe", b"{}", b"[]", b'{"train": 3, "model": {}}'):
        (tmp_path / "train.json").write_bytes(content)
        with pytest.raises(InputError, match=r"train\.json"):
            claim(tmp_path, settings, Alone())


def test_a_run_with_settings_of_old_names_cannot_be_resumed(tmp_path: Path) -> None:
    settings = {"model": {"policy": "qwen"}, "dataset": "shapes", "train": {"steps": 3, "group_size": 8}}
    held = write(tmp_path / "train.json", settings | {"train": {"steps": 3, "rollouts": 8}}).read_text()
    with pytest.raises(InputError, match=r"train\.json: expected .* before 'rollouts' was renamed to 'group_size'"):
        claim(tmp_path, settings, Alone())
    assert (tmp_path / "train.json").read_text() == held
