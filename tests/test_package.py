"""What is installed: pinned dependencies, typing, and a clear sentence where revseg itself is not installed."""

import re
import subprocess
import sys
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
LISTS = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
ASKED = [Requirement(text) for texts in LISTS for text in texts]
LINES = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
PINS = [Requirement(line) for line in LINES if line and not line.lstrip().startswith("#")]


@pytest.mark.parametrize("asked", [one for one in ASKED if one.name != PROJECT["name"]], ids=str)
def test_a_dependency_is_pinned_within_its_bounds(asked: Requirement) -> None:
    pins = [pin for pin in PINS if canonicalize_name(pin.name) == canonicalize_name(asked.name)]
    assert pins, f"{asked.name} is not in constraints.txt: renew it, see CONTRIBUTING.md"
    for pin in pins:
        (spec,) = pin.specifier
        assert spec.version in asked.specifier
        assert pin.marker is None, "one release for all, so that what is tested is what is installed"


def test_pins_are_releases_that_an_index_has() -> None:
    """No file or address, and no label such as +cpu, which PyPI takes none of."""
    for pin in PINS:
        (spec,) = pin.specifier
        assert pin.url is None
        assert spec.operator == "=="
        assert Version(spec.version).local is None
    assert not [line for line in LINES if re.match(r"\s*-|.*(://|file:)", line)]


def test_the_package_is_marked_as_typed() -> None:
    assert files("revseg").joinpath("py.typed").is_file()


NOT_INSTALLED = """
import importlib.metadata

of, points = importlib.metadata.distribution, importlib.metadata.entry_points

def distribution(name):
    if name == "revseg":
        raise importlib.metadata.PackageNotFoundError(name)
    return of(name)

def entry_points(**which):
    found = points(**which)
    return importlib.metadata.EntryPoints(e for e in found if not e.value.startswith("revseg.")) if which else found

importlib.metadata.distribution, importlib.metadata.entry_points = distribution, entry_points
import revseg

for kind, spec in [("dataset", "shapes"), ("policy", "qwen"), ("reward", "tempral")]:
    try:
        revseg.build(kind, spec)
    except revseg.RevsegError as error:
        print(error)
print(revseg.build("tracker", "fill_box"))
"""


def test_a_checkout_that_is_not_installed_says_so() -> None:
    """The synthetic world and its checkpoints are registered on installation; all other parts do without it."""
    done = subprocess.run([sys.executable, "-c", NOT_INSTALLED], capture_output=True, text=True)
    dataset, policy, reward, tracker = done.stdout.splitlines()
    why = "revseg is not installed, so the parts that it registers on installation are missing: run `pip install -e .`"
    assert dataset.startswith(f"unknown dataset: 'shapes'. {why} in the folder with its pyproject.toml. Known: fevos, ")
    assert policy.startswith(f"unknown checkpoint: 'small_grpo'. {why}")
    assert reward.startswith("unknown reward: 'tempral'. Did you mean 'temporal'?")
    assert "fill_box" in tracker
    assert not done.stderr
