"""The site of results in a real browser, headless: what it shows, what it does not run, and how much it holds."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from made_rows import failed, made_row, write_results
from PIL import Image
from test_site import HOSTILE, hostile_rows

from revseg.report import write_site

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH; Debian: apt-get install chromium"),
]


class Page(HTMLParser):
    """A document as the browser left it: its text, tags, scripts, handlers, and the lines of the list."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.title = "", ""
        self.tags: list[str] = []
        self.scripts: set[str] = set()
        self.handlers: list[str] = []
        self.numbers: list[int] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        held = dict(attrs)
        self.scripts |= {str(held.get("src"))} if tag == "script" else set()
        self.handlers += [name for name in held if name.startswith("on")]
        self.numbers += [int(str(held["data-number"]))] if "data-number" in held else []

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] == "title":
            self.title += data
        self.text += data

    @property
    def lines(self) -> int:
        return len(self.numbers)


def browse(profile: Path, address: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Opens an address until its scripts are done; what they complain of is on stderr."""
    assert CHROMIUM is not None
    words = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={profile}",
        "--window-size=1200,900",
    ]
    words += ["--enable-logging=stderr", "--virtual-time-budget=6000", "--hide-scrollbars", *options, address]
    return subprocess.run(words, capture_output=True, text=True, timeout=180, check=True)


def dom(tmp_path: Path, site: Path, state: str = "") -> Page:
    done = browse(tmp_path / "profile", f"{site.as_uri()}/index.html{state}", "--dump-dom")
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line or "Refused" in line]
    assert complaints == []
    return Page(done.stdout)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    rows = [failed(made_row(i)) if i % 10 == 0 else made_row(i) for i in range(300)]
    return write_site(write_results(folder / "r.jsonl", rows), folder / "site", frames=2)


def test_the_list_holds_only_the_lines_in_sight(many: Path, tmp_path: Path):
    page = dom(tmp_path, many)
    assert "300 of 300 samples" in page.text
    assert 10 <= page.lines <= 60


def test_filters_sorting_and_search(many: Path, tmp_path: Path):
    assert "30 of 300 samples" in dom(tmp_path, many, "#kindA=round+1%3A+no_json").text
    page = dom(tmp_path, many, "#by=1&min=2.5&q=number+17&order=up")  # reward from 2.5; 170 did not earn it
    assert "12 of 300 samples" in page.text
    assert page.numbers == [17, 117, *range(171, 180), 217]
    assert dom(tmp_path, many, "#by=1&order=down").numbers[:2] == [1, 2]
    assert dom(tmp_path, many, "#by=1&order=up").numbers[:2] == [0, 10]


def test_a_sample_has_its_own_page(many: Path, tmp_path: Path):
    page = dom(tmp_path, many, "#s=7")
    for words in ("the square number 7", "it is square", "a square", "fine", "Rewards", "spatial", "frame 2"):
        assert words in page.text
    assert page.tags.count("figure") == 2
    assert "This sample's file is missing" in dom(tmp_path, _without(many, 8), "#s=8").text
    assert "There is no such sample" in dom(tmp_path, many, "#s=300").text
    assert "There is no such sample" in dom(tmp_path, many, "#s=../../x").text


def _without(site: Path, number: int) -> Path:
    (site / f"samples/0000/{number:06d}.js").unlink()
    return site


@pytest.mark.parametrize("state", ["", "#s=0", "#s=1", "#s=2", "#s=3", "#s=5", "#s=6"])
def test_what_was_written_to_harm_is_shown_as_it_is(tmp_path: Path, state: str):
    path = write_results(tmp_path / "<img src=x onerror=alert(1)>.jsonl", hostile_rows())
    page = dom(tmp_path, write_site(path, tmp_path / "site"), state)
    assert page.title.startswith("revseg · <img src=x")
    assert page.scripts == {"site.js", "site_list.js", "site_sample.js", "data/meta.js", "data/0000.js"} | (
        {f"samples/0000/{int(state[3:]):06d}.js"} if state else set()
    )
    assert not page.handlers
    for text in [HOSTILE[int(state[3:])]] if state else HOSTILE:
        assert re.split(r"[^\w<>'=:/ ]", text)[0].strip() in page.text


def test_two_runs_side_by_side(tmp_path: Path):
    a = write_results(tmp_path / "a.jsonl", [failed(made_row(0)), made_row(1)])
    b = write_results(tmp_path / "b.jsonl", [made_row(0)])
    site = write_site(a, tmp_path / "site", b)
    page = dom(tmp_path, site)
    assert "+1.00" in page.text
    assert "no such sample" in page.text
    page = dom(tmp_path, site, "#s=0")
    assert "a.jsonl" in page.text
    assert "b.jsonl" in page.text
    assert "who knows" in page.text
    assert page.text.count("it is square") == 2  # thinking, and the reply as written, of B alone


def test_light_and_dark(many: Path, tmp_path: Path):
    means = {}
    for name, scheme in (("dark", 0), ("light", 1)):
        picture = tmp_path / f"{name}.png"
        address = f"{many.as_uri()}/index.html#s=7"
        browse(
            tmp_path / "profile", address, f"--screenshot={picture}", f"--blink-settings=preferredColorScheme={scheme}"
        )
        with Image.open(picture) as shown:
            means[name] = float(np.asarray(shown.convert("L")).mean())
    assert means["dark"] < 70
    assert means["light"] > 200
