"""The scripts of `benchmarks/speed` run at their smallest size; ours equals the baseline there."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks" / "speed"
SCRIPTS = {
    "decode_ahead": [],
    "jf": [],
    "score_run": [],
    "video_read": [],
    "imports": [],
    "parser": [],
    "parts": [],
    "sam2_predictor": [],
    "served_evaluation": [],
    "tracking_memory": ["--trackers", "fill_box"],
}


def test_every_script_is_here() -> None:
    shared = {"measure", "davis_official"}
    assert {path.stem for path in FOLDER.glob("*.py")} >= set(SCRIPTS) | shared


def slow_but(sample: str) -> list[Any]:
    """All scripts, of which one is enough to notice that what they share is broken."""
    return [name if name == sample else pytest.param(name, marks=pytest.mark.slow) for name in SCRIPTS]


@pytest.mark.parametrize("name", slow_but("parser"))
def test_script_runs_and_finds_equal_results(name: str, tmp_path: Path) -> None:
    out = tmp_path / "record.json"
    if name == "tracking_memory" and not Path("/proc/self/clear_refs").exists():
        pytest.skip("peak memory is read as Linux tells it")
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--small", "--out", str(out), *SCRIPTS[name]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    record = json.loads(out.read_text())
    assert record["rows"]
    assert {"machine", "versions", "commit", "command"} <= set(record)
    for row in record["rows"]:
        assert row.get("equal", True), row["what"]
        assert row.get("masks_equal", True), row["what"]
        assert row.get("heavy_modules_loaded", "[]") == "[]", row["what"]
