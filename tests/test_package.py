"""What is installed: the constraints hold what pyproject.toml asks for, and the package says that it is typed."""

import re
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
