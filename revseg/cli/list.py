"""`revseg list`: the parts of each kind with their options, read from the parts themselves."""

import inspect
import shutil
from typing import Annotated, Any

import typer

from revseg.cli.guard import print_safely
from revseg.cli.options import AsJson
from revseg.registry import REGISTRIES, options_of, registry
from revseg.spec import format_spec
from revseg.text_table import text_table


def list_parts(
    kind: Annotated[str | None, typer.Argument(help="Such as policy, tracker or reward. Default: all kinds.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the parts of a kind with their options and defaults."""
    entries = describe(kind)
    print_safely(entries if as_json else listing(entries))


def describe(kind: str | None = None) -> list[dict[str, Any]]:
    """One entry per part: kind, name, summary, and options (name to default as text, None for a required one).

    A part that cannot be imported, such as a broken plug-in, has the error as its summary.
    """
    kinds = [registry(kind).kind] if kind else list(REGISTRIES)
    return [_entry(k, name) for k in kinds for name in registry(k).names()]


def listing(entries: list[dict[str, Any]]) -> str:
    """The entries as text for a terminal: under each kind its parts, and under each part its options."""
    rows: list[tuple[str, str]] = []
    kind = None
    for entry in entries:
        if entry["kind"] != kind:
            kind = entry["kind"]
            rows += [("", "")] * bool(rows) + [(kind, "")]
        rows.append((f"  {entry['name']}", entry["summary"] or "(no description)"))
        options = ", ".join(k if v is None else f"{k}={v}" for k, v in entry["options"].items())
        rows += [("", options)] if options else []
    width = max(60, min(shutil.get_terminal_size().columns, 110))
    return text_table(rows, left=(0, 1), width=width) if rows else ""


def _entry(kind: str, name: str) -> dict[str, Any]:
    try:
        part = registry(kind).get(name)
    except Exception as error:  # a plug-in may fail in any way, and is listed all the same
        return {"kind": kind, "name": name, "summary": f"cannot be loaded: {error}", "options": {}}
    summary = (inspect.getdoc(part) or "").split("\n\n")[0].replace("\n", " ")
    options = {option: _default(parameter) for option, parameter in options_of(part).items()}
    return {"kind": kind, "name": name, "summary": summary, "options": options}


def _default(parameter: inspect.Parameter) -> str | None:
    """The default as written in a spec; None for a required option."""
    if parameter.default is inspect.Parameter.empty:
        return None
    try:
        return format_spec("x", {"option": parameter.default}).removeprefix("x:option=")
    except TypeError:
        return repr(parameter.default)
