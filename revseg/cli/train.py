"""`revseg train`: a configuration file and overrides in, a trained policy out."""

import json
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from revseg.cli.guard import at_terminal, print_safely
from revseg.cli.options import AsJson, Trust
from revseg.errors import InputError, SpecError
from revseg.job import place_in_job
from revseg.spec import parse_spec

if TYPE_CHECKING:
    from revseg.pipeline import ReVSeg
    from revseg.training.config import TrainConfig

TABLES = ("model", "data", "train")
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, such as train.lr=1e-5. Repeatable."),
]


def train(
    out: Annotated[Path, typer.Option(help="The run's folder. A run that was stopped continues.")],
    config: Annotated[Path | None, typer.Option(help="A TOML file with the tables [model], [data], [train].")] = None,
    changes: Changes = None,
    trust: Trust = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print tokens, batches, epochs and memory of the run; train nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train a policy by GRPO on a dataset with true masks.

    Writes the policy's weights, a log and the settings to a folder.
    """
    settings = read_settings(config, changes or [])
    if dry_run:
        from revseg.training.dry_run import dry_run as work_out
        from revseg.training.dry_run import plan_text

        model, plan = parts_of(settings, trust=trust)
        found = work_out(model, settings["data"]["dataset"], plan, place_in_job().world)
        print_safely(found if as_json else plan_text(found))
        return
    result = run(settings, out, trust=trust)
    if place_in_job().rank == 0:
        print_safely(json.dumps(result) if as_json else f"trained policy: {result['policy']}\nlog: {out}/log.jsonl")


def run(settings: Mapping[str, Mapping[str, Any]], out: Path, *, trust: bool = False) -> dict[str, Any]:
    """Train with these settings. Returns "out", "policy", "steps", and the last step's "reward" if any step ran."""
    from revseg.registry import spec_of
    from revseg.training.grpo import train

    model, plan = parts_of(settings, trust=trust)
    rewards: list[float] = []
    with reporting(plan.steps, show=at_terminal()) as show:

        def report(row: Mapping[str, Any]) -> None:
            rewards.append(row["reward"])
            show(row)

        trained = train(model, settings["data"]["dataset"], out, plan, report=report)
    result = {"out": str(out), "policy": spec_of(trained.policy), "steps": plan.steps}
    return {**result, "reward": rewards[-1]} if rewards else result


def parts_of(settings: Mapping[str, Mapping[str, Any]], *, trust: bool = False) -> "tuple[ReVSeg, TrainConfig]":
    """The model and the training's settings.

    The user wrote the configuration, so it is trusted; the checkpoint that it names is trusted with `trust` only.
    """
    from revseg.pipeline import ReVSeg
    from revseg.training.config import TrainConfig

    model = ReVSeg.from_dict({**settings["model"], **({"trust": True} if trust else {})}, trust=True)
    return model, TrainConfig.from_dict(settings["train"], trust=True)


def read_settings(path: Path | None, changes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The tables of a configuration file after the changes, each "table.key=value".

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
        _apply(settings, change)
    unknown = [key for key in settings["data"] if key != "dataset"]
    if unknown:
        raise InputError(f"data has no setting {unknown[0]!r}; it has dataset, a spec such as shapes:size=256")
    if "dataset" not in settings["data"]:
        raise InputError('no dataset: write dataset = "shapes:size=256" under [data], or --set data.dataset=shapes')
    return settings


@contextmanager
def reporting(steps: int, *, show: bool) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A function for each step's row of the log. It prints new warnings on stderr; with `show`, a progress bar too."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    printed: set[str] = set()  # kinds of warnings
    with Progress(*columns, console=console, transient=True, disable=not show) as bar:
        task = bar.add_task("training", total=steps)

        def report(row: Mapping[str, Any]) -> None:
            bar.update(task, completed=int(row["step"]) + 1, description=summary(row))
            for warning in row.get("warnings", []):
                if warning.kind not in printed:
                    printed.add(warning.kind)
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


def _apply(settings: dict[str, dict[str, Any]], change: str) -> None:
    """Set "table.key", or "table.key.part" such as a reward's weight. The value is read as in a spec."""
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
    """A number, true, false, none, JSON, or else the text itself, which may hold commas."""
    simple = not any(mark in text for mark in ",:") or text.lstrip()[:1] in ("[", "{", '"')
    return parse_spec(f"x:value={text}")[1]["value"] if simple else text
