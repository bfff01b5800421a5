"""Training curves: what is read from logs, how it is smoothed, and that a picture comes out."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from revseg.errors import InputError, MissingExtraError, OutputError
from revseg.training.curves import draw_curves, read_runs, smooth


def log(folder: Path, steps: int, shift: float = 0.0, **more: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"step": s, "reward": s + shift, "reward/format": 1.0, "tokens": 5.0, "turns": 2.0, "loss": 0.0, **more}
        for s in range(steps)
    ]
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_runs_are_read_up_to_where_all_have_steps(tmp_path: Path):
    steps, columns = read_runs([log(tmp_path / "a", 4), log(tmp_path / "b", 3, 2.0) / "log.jsonl"])
    assert steps.tolist() == [0, 1, 2]
    assert list(columns) == ["reward/format", "reward", "tokens", "turns"]
    assert columns["reward"].tolist() == [[0, 1, 2], [2, 3, 4]]


def test_smoothing_by_hand():
    values = np.array([4.0, 1.0, 7.0, np.nan, 2.0])
    assert smooth(values, 3).tolist() == pytest.approx([2.5, 4, 4, 4.5, 2])
    assert smooth(values, 1)[:3].tolist() == [4, 1, 7]
    line = np.arange(9.0)
    assert smooth(line, 5)[2:-2].tolist() == pytest.approx(line[2:-2].tolist())  # no lag


@pytest.mark.parametrize("name", ["curves.png", "curves.svg"])
def test_a_picture_of_several_seeds(tmp_path: Path, name: str):
    pytest.importorskip("matplotlib")
    runs = [log(tmp_path / str(seed), 5, seed) for seed in range(3)]
    path = draw_curves(runs, tmp_path / name, title="three seeds")
    if name.endswith("png"):
        assert np.ptp(np.asarray(Image.open(path).convert("L"))) > 200
    else:
        assert path.read_text("utf-8").lstrip().startswith("<?xml")


def test_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = log(tmp_path / "a", 2)
    with pytest.raises(InputError, match="expected the log"):
        read_runs([tmp_path])
    with pytest.raises(InputError, match="at least one"):
        read_runs([])
    pytest.importorskip("matplotlib")
    with pytest.raises(InputError, match="smoothing"):
        draw_curves([run], tmp_path / "a.png", smoothing=0)
    with pytest.raises(OutputError, match="png"):
        draw_curves([run], tmp_path / "curves.nothing")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"pip install revseg\[plots\]"):
        draw_curves([run], tmp_path / "a.png")
