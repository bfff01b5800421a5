"""The published figures in `published.toml`, beside this file."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NotRequired

from pydantic import Field
from typing_extensions import TypedDict  # pydantic reads typing's own from Python 3.12 on only

from revseg.errors import InputError
from revseg.untrusted.reading import checked, read_text

FILE = Path(__file__).with_name("published.toml")
NOT_STATED = "not stated"
Percent = Annotated[float, Field(ge=0, le=100)]


class SetFields(TypedDict):
    """A benchmark's set; its only split and protocol, which figures may omit; `never`: why no run is comparable."""

    name: str
    title: str
    split: NotRequired[str]
    protocol: NotRequired[str]
    never: NotRequired[str]


class FigureFields(TypedDict):
    """One published figure. `scores` are in percent; `group` is a type of expression or "overall"."""

    set: str
    group: str
    split: str
    protocol: str
    paper: str
    model: str
    size: str
    kind: str
    frames: int | str
    source: str
    note: NotRequired[str]
    scores: dict[str, Percent]


class _File(TypedDict):
    set: list[SetFields]
    figure: list[FigureFields]


@dataclass(frozen=True)
class Published:
    """The sets by name, and the figures in the order of the file."""

    sets: Mapping[str, SetFields]
    figures: tuple[FigureFields, ...]


def read_published(path: Path = FILE) -> Published:
    """The published figures. InputError for a file that is missing or damaged in any way."""
    try:
        data = tomllib.loads(read_text(path, "published figures as TOML"))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"{path}: expected published figures as TOML: {str(error)[:200]}") from error
    found = checked(data, _File, str(path))
    sets = {entry["name"]: entry for entry in found["set"]}
    for number, figure in enumerate(found["figure"]):
        if figure["set"] not in sets:
            raise InputError(f"{path}: figure[{number}].set: expected one of {', '.join(sets)}, got {figure['set']!r}")
    return Published(sets, tuple(found["figure"]))


def published_page(published: Published | None = None) -> str:
    """The text of docs/published.md: one table per set."""
    published = published or read_published()
    lines = [
        "# Published figures",
        "",
        'In percent, as their authors state them; what a source does not state is "not stated". Made from',
        "[`revseg/evaluation/published.toml`](../revseg/evaluation/published.toml), which is part of the package, by",
        "`revseg.evaluation.published.published_page`. `revseg compare RUN --published` puts a run beside those that",
        "are comparable and says why the others are not: [evaluate](how-to/evaluate.md#beside-published-figures).",
    ]
    for name, entry in published.sets.items():
        mine = [figure for figure in published.figures if figure["set"] == name]
        names = list(dict.fromkeys(score for figure in mine for score in figure["scores"]))
        columns = ["model", "size", "paper", "type", *names, "split", "protocol", "frames", "kind", "source", "note"]
        lines += ["", f"## {entry['title']}", "", *_limits(entry)]
        lines += [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
        for figure in mine:
            cells = [figure["model"], figure["size"], figure["paper"], figure["group"]]
            cells += [f"{figure['scores'][n]:.1f}" if n in figure["scores"] else "" for n in names]
            cells += [figure["split"], figure["protocol"], str(figure["frames"]), figure["kind"], figure["source"]]
            lines.append(f"| {' | '.join([*cells, figure.get('note', '')])} |")
    return "\n".join(lines) + "\n"


def _limits(entry: SetFields) -> list[str]:
    stated = [f"the only split to score on is `{entry['split']}`"] if "split" in entry else []
    stated += [f"the only protocol here is `{entry['protocol']}`"] if "protocol" in entry else []
    stated += [f"not comparable with a run: {entry['never']}"] if "never" in entry else []
    text = "; ".join(stated)
    return [f"{text[:1].upper()}{text[1:]}.", ""] if text else []
