"""The Jinja templates in `revseg/report/pages`. Every value that is filled in is escaped."""

import functools
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


def render(name: str, **values: Any) -> str:
    """A template of `pages/` with its values; a value that the template does not get is an error."""
    return _environment().get_template(name).render(values)


def asset(name: str) -> str:
    """A file of `pages/` as it is, such as a stylesheet."""
    return files("revseg.report").joinpath("pages", name).read_text("utf-8")


@functools.cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("revseg.report", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
