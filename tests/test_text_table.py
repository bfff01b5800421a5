"""Tables of plain text: columns line up, and what is in a cell is text, wherever it is printed."""

import pytest
from rich.cells import cell_len

from revseg.text_table import text_table


def test_columns_are_aligned_by_hand_computed_widths():
    table = text_table([["", "J", "name"], ["overall", "5.00", "a"], ["x", "12.34", "long"]], left=(0, 2))
    assert table == "             J  name\noverall   5.00  a\nx        12.34  long"


def test_cells_are_plain_text(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "20")
    cell = "[bold]:smile:[/bold] https://x.test 'quoted' 12 " + "word " * 60
    lines = text_table([["a", "b"], [cell.strip(), "1"], ["two\nlines", "2"]]).splitlines()
    assert len(lines) == 3
    assert lines[1] == f"{cell.strip()}  1"
    assert lines[2].split() == ["two", "lines", "2"]


def test_wide_characters_are_two_columns():
    lines = text_table([["", "n"], ["中文", "1"], ["abcd", "2"]]).splitlines()
    assert {cell_len(line) for line in lines} == {7}


def test_only_the_last_column_wraps_and_only_with_a_width():
    rows = [["name", "what it does"], ["a_long_name", "one two three four"]]
    assert text_table(rows, left=(0, 1), width=22) == (
        "name         what it\n             does\na_long_name  one two\n             three\n             four"
    )
    assert text_table(rows, left=(0, 1)).count("\n") == 1
