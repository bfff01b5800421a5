"""Every Python snippet of the README and the docs runs; the snippets of one page are one script, top to bottom.

A fence right below a line `<!-- no-run -->` is left out: for what needs a download, and the page says so there.
"""

import re
import shlex
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import typer

from revseg.cli.app import app

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"(?P<skip><!-- no-run -->\n+)?^```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


def script(page: str) -> str:
    """The page's snippets at their own line numbers, so that a failure points into the page."""
    lines = [""] * (page.count("\n") + 1)
    for fence in FENCE.finditer(page):
        if not fence["skip"]:
            first = page.count("\n", 0, fence.start("code"))
            code = fence["code"].splitlines()
            lines[first : first + len(code)] = code
    return "\n".join(lines)


@pytest.mark.parametrize("path", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_snippets_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    module = types.ModuleType("snippets_of_" + path.stem)  # a module of its own, as a script has
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(script(path.read_text("utf-8")), str(path), "exec"), vars(module))


@pytest.mark.parametrize("path", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_somewhere(path: Path):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text("utf-8")):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def commands(page: str) -> list[list[str]]:
    """The words of every `revseg` command of a page's shell fences and of its text, but for what is cut short."""
    fences = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    shell = "\n".join(text for kind, text in fences.findall(page) if kind in ("", "sh", "bash")).replace("\\\n", " ")
    found = re.findall(r"\brevseg ([a-z]+ [^\n&]+)", shell) + re.findall(
        r"`revseg ([a-z]+ [^`]+)`", fences.sub("", page)
    )
    return [shlex.split(line) for line in found if "..." not in line]


@pytest.mark.parametrize("path", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_commands_have_the_options_they_are_shown_with(path: Path):
    group: Any = typer.main.get_command(app)
    for name, *words in commands(path.read_text("utf-8")):
        command = group.commands[name]
        while hasattr(command, "commands"):
            command, words = command.commands[words[0]], words[1:]
        command.make_context(name, list(words)).close()  # reads and checks the arguments, runs nothing
        if name == "segment":
            assert {"--policy", "--box"} & {*words}, f"{path.name}: {words} names no policy"
        if name == "evaluate":
            assert "--policy" in words or words[0].startswith("shapes"), f"{path.name}: {words} names no policy"


def test_commands_are_found():
    page = "```sh\nrevseg evaluate mevis \\\n    --out x\n```\nSay `revseg list policy`, not `revseg evaluate ...`.\n"
    assert commands(page) == [["evaluate", "mevis", "--out", "x"], ["list", "policy"]]
    assert sum(len(commands(path.read_text("utf-8"))) for path in PAGES) > 10


def test_a_script_keeps_line_numbers_and_skips_what_is_marked():
    page = "a\n```python\nx = 1\n```\n<!-- no-run -->\n```python\nx = 2\n```\n```toml\nx\n```\n```python\ny = 3\n```\n"
    assert script(page).split("\n")[2] == "x = 1"
    assert script(page).split("\n")[12] == "y = 3"
    assert "x = 2" not in script(page)
