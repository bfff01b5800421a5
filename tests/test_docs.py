"""Every Python snippet of the README and the docs runs; the snippets of one page are one script, top to bottom.

A fence right below a line `<!-- no-run -->` is left out: for what needs a download, and the page says so there.
"""

import re
import sys
import types
from pathlib import Path

import pytest

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


def test_a_script_keeps_line_numbers_and_skips_what_is_marked():
    page = "a\n```python\nx = 1\n```\n<!-- no-run -->\n```python\nx = 2\n```\n```toml\nx\n```\n```python\ny = 3\n```\n"
    assert script(page).split("\n")[2] == "x = 1"
    assert script(page).split("\n")[12] == "y = 3"
    assert "x = 2" not in script(page)
