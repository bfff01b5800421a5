"""`revseg train`: a configuration file and overrides in, a trained policy out."""

import json
import os
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from revseg.cli.guard import AsJson, Trust
from revseg.errors import InputError, SpecError
from revseg.spec import parse_spec

TABLES = ("model", "data", "train")


def train(
    out: Annotated[Path, typer.Option(help="The run's folder. Of a run that was stopped: it goes on.")],
    config: Annotated[Path | None, typer.Option(help="A TOML file with the tables [model], [data], [train].")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Such as train.lr=1e-5. Repeatable.")
    ] = None,
    trust: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Trains a policy by GRPO on a dataset with truth; leaves its weights, log and settings in a folder."""
    done = run(read_settings(config, changes or []), out, trust=trust)
    told = f"trained: the policy is {done['policy']}; {out}/log.jsonl tells how it went"
    if int(os.environ.get("RANK", "0")) == 0:
        typer.echo(json.dumps(done) if as_json else told)


def run(settings: Mapping[str, Mapping[str, Any]], out: Path, *, trust: bool = False) -> dict[str, Any]:
    """Train as the tables say; {"out", "policy", "steps", "reward" of the last step if one was taken}."""
    from revseg.pipeline import ReVSeg
    from revseg.registry import spec_of
    from revseg.training.config import TrainConfig
    from revseg.training.grpo import train

    # a configuration is the user's own hand; the checkpoint that it starts from is not
    model = ReVSeg.from_dict({**settings["model"], **({"trust": True} if trust else {})}, trust=True)
    plan = TrainConfig.from_dict(settings["train"], trust=True)
    rewards: list[float] = []
    with reporting(plan.steps, show=sys.stderr.isatty()) as show:

        def report(row: Mapping[str, Any]) -> None:
            rewards.append(row["reward"])
            show(row)

        trained = train(model, settings["data"]["dataset"], out, plan, report=report)
    done = {"out": str(out), "policy": spec_of(trained.policy), "steps": plan.steps}
    return {**done, "reward": rewards[-1]} if rewards else done


def read_settings(path: Path | None, changes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The tables of a configuration file with the changes, each "table.key=value", made to them.

    InputError for a file that cannot be read, a table or key that does not exist, or no dataset; SpecError for a change
    that does not parse.
    """
    settings: dict[str, dict[str, Any]] = {table: {} for table in TABLES}
    if path is not None:
        for table, values in _read(path).items():
            if table not in TABLES or not isinstance(values, dict):
                raise InputError(f"{path}: unknown table {table!r}; expected [{'], ['.join(TABLES)}]")
            settings[table] = values
    for change in changes:
        _make(settings, change)
    unknown = [key for key in settings["data"] if key != "dataset"]
    if unknown:
        raise InputError(f"data has no setting {unknown[0]!r}; it has dataset, a spec such as shapes:size=256")
    if "dataset" not in settings["data"]:
        raise InputError('no dataset: write dataset = "shapes:size=256" under [data], or --set data.dataset=shapes')
    return settings


@contextmanager
def reporting(steps: int, *, show: bool) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """What shows each step's row: a bar on stderr with the rewards, if wanted; and every new warning, always."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    told: set[str] = set()
    with Progress(*columns, console=console, transient=True, disable=not show) as bar:
        task = bar.add_task("training", total=steps)

        def report(row: Mapping[str, Any]) -> None:
            bar.update(task, completed=int(row["step"]) + 1, description=summary(row))
            for warning in row.get("warnings", []):
                kind = warning.split(" ", 2)[0]
                if kind not in told:
                    told.add(kind)
                    print(f"step {row['step']}: {warning}", file=console.file if show else sys.stderr)

        yield report


def summary(row: Mapping[str, Any]) -> str:
    """ "reward 1.52 (format 0.97, temporal 0.35, spatial 0.20)"."""
    parts = [f"{n.removeprefix('reward/')} {v:.2f}" for n, v in row.items() if n.startswith("reward/")]
    return f"reward {row['reward']:.2f} ({', '.join(parts)})"


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"cannot read the configuration {path}: {error}; expected a TOML file") from error


def _make(settings: dict[str, dict[str, Any]], change: str) -> None:
    """Set "table.key" or "table.key.part" (a reward's weight); the value is read as in a spec."""
    key, equals, value = change.partition("=")
    table, *rest = key.strip().split(".", 2)
    if not equals or table not in TABLES or not rest or not all(rest):
        raise SpecError(
            f"cannot read --set {key.strip()!r}: expected {'|'.join(TABLES)}.key=value, such as train.lr=1e-5"
        )
    place: Any = settings[table]
    for part in rest[:-1]:
        place = place.setdefault(part, {})
        if not isinstance(place, dict):
            raise SpecError(f"cannot read --set {key.strip()!r}: {table}.{part} is no table, it has no parts")
    place[rest[-1]] = _value(value)


def _value(text: str) -> Any:
    """A number, true, false, none, JSON, or the text itself, even where it holds commas."""
    simple = not any(mark in text for mark in ",:") or text.lstrip()[:1] in ("[", "{", '"')
    return parse_spec(f"x:value={text}")[1]["value"] if simple else text
