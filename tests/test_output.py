"""Whole or not at all, and nothing replaced unasked."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from revseg.errors import OutputError
from revseg.output import MARK, check_folder, fresh_file, fresh_folder, write_text


def names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


def make(path: Path, *files: str, overwrite: bool = False) -> None:
    with fresh_folder(path, overwrite=overwrite) as out:
        for name in files:
            write_text(out / name, name)


def half_a_folder(path: Path, error: BaseException, overwrite: bool = False) -> None:
    with fresh_folder(path, overwrite=overwrite) as out:
        write_text(out / "new.txt", "half")
        raise error


def half_a_file(path: Path) -> None:
    with fresh_file(path, overwrite=True) as part:
        assert part.suffix == path.suffix  # writers choose the format by it
        part.write_text("half")
        raise ZeroDivisionError


def test_a_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    place = tmp_path / "new" / "result"
    with fresh_folder(place) as out:
        assert not place.exists()
        assert out.parent == place.parent  # the same disk, so that the move is a renaming
        write_text(out / "a.txt", "ä\n")
        (out / "masks").mkdir()
    assert names(place) == sorted([MARK, "a.txt", "masks"])
    assert (place / "a.txt").read_bytes() == "ä\n".encode()
    assert names(place.parent) == ["result"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(1)])
def test_a_failure_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)):
        half_a_folder(tmp_path / "result", error)
    assert names(tmp_path) == []


def test_a_failure_leaves_the_old_result(tmp_path: Path) -> None:
    make(tmp_path / "result", "old.txt")
    with pytest.raises(ZeroDivisionError):
        half_a_folder(tmp_path / "result", ZeroDivisionError(), overwrite=True)
    assert names(tmp_path / "result") == [MARK, "old.txt"]
    assert names(tmp_path) == ["result"]


def test_overwriting(tmp_path: Path) -> None:
    place = tmp_path / "result"
    place.mkdir()
    make(place, "first.txt")  # an empty folder is free
    with pytest.raises(OutputError, match="exists: choose another folder, or ask to overwrite"):
        make(place, "second.txt")
    make(place, "second.txt", overwrite=True)
    assert names(place) == [MARK, "second.txt"]
    (place / "my notes.txt").write_text("precious")
    with pytest.raises(OutputError, match=r"holds what revseg did not write, such as my notes\.txt"):
        make(place, "third.txt", overwrite=True)
    assert (place / "my notes.txt").read_text() == "precious"


def test_somebody_elses_folder_is_never_replaced(tmp_path: Path) -> None:
    for content in (None, "not json", "3", "[[]]"):
        place = tmp_path / f"home{content}"
        place.mkdir()
        (place / "thesis.tex").write_text("precious")
        if content is not None:
            (place / MARK).write_text(content)
        with pytest.raises(OutputError, match="did not write"):
            check_folder(place, overwrite=True)


def test_places_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="exists and is not a folder"):
        make(tmp_path / "file", "a")
    with pytest.raises(OutputError, match="file is not a folder"):
        make(tmp_path / "file" / "below", "a")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="is the current folder"):
        make(Path("."), "a")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(OutputError, match="no permission to write in"):
        check_folder(tmp_path / "result")
    assert names(tmp_path) == ["file"]


def test_a_place_taken_meanwhile_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="exists"), fresh_folder(tmp_path / "result"):
        write_text(tmp_path / "result" / "other.txt", "theirs")
    assert names(tmp_path / "result") == ["other.txt"]
    assert names(tmp_path) == ["result"]


def test_a_full_disk_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot write .*result: No space"), fresh_folder(tmp_path / "result"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(FileNotFoundError), fresh_folder(tmp_path / "result"):
        Path("/nonexistent/input").read_text()  # the caller's own trouble passes as it is
    assert names(tmp_path) == []


def test_a_renaming_that_fails_puts_the_old_result_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "result", "old.txt")
    plain = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if (self / "new.txt").exists():
            raise OSError(errno.EIO, "Input/output error")
        return plain(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(OutputError, match="Input/output"):
        make(tmp_path / "result", "new.txt", overwrite=True)
    assert names(tmp_path / "result") == [MARK, "old.txt"]
    assert names(tmp_path) == ["result"]


def test_files(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "a.json"
    write_text(place, "1")
    with pytest.raises(OutputError, match=r"a\.json exists"):
        write_text(place, "2")
    assert place.read_text() == "1"
    write_text(place, "2", overwrite=True)
    assert place.read_text() == "2"
    with pytest.raises(ZeroDivisionError):
        half_a_file(place)
    assert place.read_text() == "2"
    assert names(place.parent) == ["a.json"]
    with pytest.raises(OutputError, match="is a folder"):
        write_text(tmp_path / "deep", "x", overwrite=True)
    with pytest.raises(OutputError, match="not a folder"):
        write_text(place / "below.txt", "x")


HOLDS = """
import sys, time
from pathlib import Path
from revseg.output import fresh_file, fresh_folder
make = {"folder": fresh_folder, "file": fresh_file}[sys.argv[1]]
with make(sys.argv[2], overwrite=True) as part:
    (part / "half.txt" if sys.argv[1] == "folder" else part).write_text("half")
    print(part, flush=True)
    time.sleep(60)
"""


def started(kind: str, path: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process that is writing `path`, and its part."""
    process = subprocess.Popen([sys.executable, "-c", HOLDS, kind, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def killed(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_a_killed_process_left_goes_at_the_next_run(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "result.txt"
    first, part = started(kind, path)
    second, other = started(kind, path)
    assert part != other
    killed(second)
    assert part.exists()
    assert other.exists()
    write_text(tmp_path / "another.txt", "x")  # another output: nothing of it is touched
    assert other.exists()
    with fresh_file(path) as mine:
        assert part.exists()  # of a living process
        assert not other.exists()
        mine.write_text("whole")
    path.unlink()
    killed(first)
    make(path, "a.txt")
    assert names(tmp_path) == ["another.txt", "result.txt"]


def test_an_old_result_that_a_killed_process_set_aside_is_back(tmp_path: Path) -> None:
    place = tmp_path / "result"
    make(place, "old.txt")
    process, part = started("folder", place)
    killed(process)
    place.rename(part.with_name(part.name + ".old"))  # what `move_folder` does before it moves the new one
    with pytest.raises(OutputError, match="exists"):
        make(place, "new.txt")
    assert names(place) == [MARK, "old.txt"]
    assert names(tmp_path) == ["result"]


def test_two_writers_of_one_process(tmp_path: Path) -> None:
    with (
        fresh_folder(tmp_path / "result", overwrite=True) as one,
        fresh_folder(tmp_path / "result", overwrite=True) as two,
    ):
        write_text(one / "one.txt", "1")
        write_text(two / "two.txt", "2")
    assert names(tmp_path) == ["result"]
    assert names(tmp_path / "result") == [MARK, "one.txt"]


def test_hidden_files_of_others_are_left_alone(tmp_path: Path) -> None:
    theirs = [".result.part", ".result.abcd.part", ".result.revseg.part", ".result.revseg-x.part", ".result.lock"]
    for name in theirs:
        (tmp_path / name).write_text("precious")
    make(tmp_path / "result", "a.txt")
    assert names(tmp_path) == sorted([*theirs, "result"])


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "ü" * 200])
def test_names_that_no_disk_takes(tmp_path: Path, name: str) -> None:
    for refused in (lambda: check_folder(tmp_path / name), lambda: write_text(tmp_path / name, "x")):
        with pytest.raises(OutputError, match="cannot write"):
            refused()
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "name", ["x" * 250, "ü" * 120, "a\nb", "caf\udce9", ".hidden", "a" * 100 + "." + "b" * 100, "a.part"]
)
def test_odd_names_that_a_disk_takes(tmp_path: Path, name: str) -> None:
    write_text(tmp_path / name, "x")
    make(tmp_path / "below" / name, "a.txt")
    assert names(tmp_path) == sorted([name, "below"])
    assert names(tmp_path / "below") == [name]


def test_text_that_is_no_unicode_is_written(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "half \ud83d, a pair \ud83d\ude00, a byte \udce9, é")
    assert (tmp_path / "a.txt").read_bytes().decode("utf-8") == "half \ufffd, a pair \U0001f600, a byte \ufffd, é"
    write_text(tmp_path / "a.json", json.dumps({"a": "\udce9"}, ensure_ascii=False))
    assert json.loads((tmp_path / "a.json").read_bytes()) == {"a": "\ufffd"}
