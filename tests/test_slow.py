"""Which tests a plain `pytest` leaves out."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import LEFT_OUT, pytest_collection_modifyitems, pytest_terminal_summary

TESTS = {"tests/test_a.py::quick": False, "tests/test_a.py::long[0]": True, "tests/sub/test_b.py::K::long": True}


class Item:
    """What pytest collects, as far as it is looked at."""

    def __init__(self, name: str) -> None:
        self.nodeid = name

    def get_closest_marker(self, mark: str) -> object:
        return mark if mark == "slow" and TESTS[self.nodeid] else None


def left(*arguments: str, slow: bool = False, markexpr: str = "") -> tuple[list[str], list[str]]:
    """The tests that run, and what the summary says of the others."""
    items, hidden, lines = [Item(name) for name in TESTS], [], []
    config: Any = SimpleNamespace(
        getoption={"slow": slow, "markexpr": markexpr}.__getitem__,
        args=list(arguments),
        hook=SimpleNamespace(pytest_deselected=lambda items: hidden.extend(items)),
        stash=pytest.Stash(),
    )
    reporter: Any = SimpleNamespace(write_line=lines.append)
    pytest_collection_modifyitems(config, items)  # pyright: ignore[reportArgumentType]
    pytest_terminal_summary(reporter, config)
    assert len(hidden) == config.stash.get(LEFT_OUT, 0) == len(TESTS) - len(items)
    return [item.nodeid for item in items], lines


def test_a_plain_run_leaves_them_out_and_says_so() -> None:
    quick = ["tests/test_a.py::quick"]
    assert (
        left() == left("tests") == left("tests/test_a.py") == (quick, ["2 slow tests left out; pytest --slow runs all"])
    )


def test_all_run_when_asked() -> None:
    assert left(slow=True) == left(markexpr="slow") == (list(TESTS), [])


@pytest.mark.parametrize("named", ["test_a.py::long", "tests/test_a.py::long[0]", str(Path.cwd() / "test_a.py::long")])
def test_one_that_is_named_runs(named: str) -> None:
    assert left(named)[0] == ["tests/test_a.py::quick", "tests/test_a.py::long[0]"]


def test_another_of_its_file_is_not_meant() -> None:
    assert left("test_b.py::K::quick")[0] == ["tests/test_a.py::quick"]
    assert left("test_b.py::K::long")[0] == ["tests/test_a.py::quick", "tests/sub/test_b.py::K::long"]
