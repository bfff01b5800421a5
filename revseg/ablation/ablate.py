"""`ablate`: variants of a model, trained and scored alike, into one table. Resumable after any interruption."""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from revseg import output
from revseg.ablation.run_statistics import Run
from revseg.ablation.table import Table
from revseg.ablation.variants import Plan, described, make_plans, slug
from revseg.errors import InputError
from revseg.evaluation.results import Results
from revseg.evaluation.run import evaluate
from revseg.pipeline import ReVSeg
from revseg.registry import build
from revseg.training.config import TrainConfig


def ablate(
    variants: Mapping[str, Any],
    dataset: Any,
    seeds: Sequence[int] = (0,),
    train: TrainConfig | None = None,
    out: str | Path = "ablation",
    *,
    base: ReVSeg | Mapping[str, Any] | None = None,
    train_on: Any = None,
    trained: str | Path | None = None,
    protocol: str | None = None,
    limit: int | None = None,
    workers: int = 1,
    batch: int = 1,
    draws: int = 2000,
    report: Callable[[str], None] = lambda line: None,
) -> Table:
    """Train (with `train`) and score every variant with every seed; the first variant is what others are compared with.

    A variant is what it changes in `base`: settings of `ReVSeg`, a whole `ReVSeg`, a pair (settings, training) with
    training settings that differ from `train`'s (None: not trained), or a `Variant`, which can also change what is
    different at test, the dataset and the seeds. A seed is that of the training and of the sampling at test.

    Training is on `train_on`; by default the dataset's own train split where it has splits, else on the dataset
    itself, which the table then says. Trained variants are all judged by `base`'s rewards.

    `out` keeps a results file of `evaluate` for each variant and seed, and below `trained` (by default `out/trained`) a
    folder of `revseg.train` for each distinct training: variants that differ only at test share it, and so do
    ablations with the same `trained`. Called again after an interruption it goes on, and does nothing twice; with
    other settings it makes other files. `limit`, `workers` and `batch` are `evaluate`'s; `report` gets a line for
    each thing done.

    Raises InputError or SpecError, naming the variant, before any work where it can.
    """
    if int(os.environ.get("WORLD_SIZE", "1") or 1) > 1:
        raise InputError("ablate runs in one process: train under torchrun with revseg.train, then compare the folders")
    start = base if isinstance(base, ReVSeg) else ReVSeg().replace(**dict(base or {}))
    plans = make_plans(variants, start, dataset, seeds, train, train_on)
    place = Path(out)
    folder = place / "trained" if trained is None else Path(trained)
    built = _Built()
    runs = []
    for number, plan in enumerate(plans, 1):
        said = f"{number} of {len(plans)}: {plan.name}, seed {plan.seed}"
        learnt = _train(plan, folder, lambda line, said=said: report(f"{said}: {line}"))
        results = _evaluate(plan, folder, place, built, limit, workers, batch)
        runs.append(Run.read(plan.name, plan.seed, results, protocol, learnt))
        main = runs[-1].scores.overall.get("J&F")
        report(f"{said}: {len(results)} queries" + ("" if main is None else f", J&F {100 * main:.1f}"))
    return Table(tuple(runs), _notes(plans, runs), draws)


class _Built:
    """The policy used last, so that variants with the same one do not each load it. Only one is held."""

    def __init__(self) -> None:
        self.last: ReVSeg | None = None

    def model(self, wanted: ReVSeg) -> ReVSeg:
        """The same model, with the policy that is at hand if it is the same."""
        held = None if self.last is None else self.last.policy
        same = held is wanted.policy or (isinstance(held, str | Mapping) and held == wanted.policy)
        if self.last is not None and same:
            changes = {f.name: getattr(wanted, f.name) for f in fields(ReVSeg) if f.name != "policy"}
            wanted = self.last.replace(**changes)
        self.last = wanted
        return wanted


def _train(plan: Plan, folder: Path, report: Callable[[str], None]) -> dict[str, Any]:
    """Trains what is not trained yet; what a table says of it."""
    if plan.config is None:
        return {}
    from revseg.training.grpo import train
    from revseg.training.log import read_log

    place = _place(plan, folder)
    mark = place.with_name(f"{place.name}.json")  # there once the weights are
    if not mark.exists():
        began = time.perf_counter()
        train(plan.trained, plan.train_on, place, plan.config)
        record = {"model": plan.trained.to_dict(), "train": plan.config.to_dict(), "train_on": described(plan.train_on)}
        output.write_text(mark, json.dumps(record, indent=2, default=str) + "\n", overwrite=True)
        report(f"trained in {time.perf_counter() - began:.0f} s")
    rows = read_log(place / "log.jsonl")
    columns = ("seconds/rollout", "seconds/update", "reward")
    if not rows or not all(column in row for row in rows for column in columns):
        raise InputError(f"{place}: expected the log of a training run with {', '.join(columns)}; remove it and {mark}")
    seconds = [row["seconds/rollout"] + row["seconds/update"] for row in rows]
    tenth = max(1, len(rows) // 10)
    reward = [sum(row["reward"] for row in part) / tenth for part in (rows[:tenth], rows[-tenth:])]
    return {
        "folder": str(place),
        "train_on": described(plan.train_on),
        "settings": plan.config.to_dict(),
        "steps": len(rows),
        "seconds_per_step": sum(seconds) / len(seconds),
        "reward_first_tenth": reward[0],
        "reward_last_tenth": reward[1],
        "warnings": sorted({text for row in rows for text in row.get("warnings", ())}),
    }


def _evaluate(
    plan: Plan, folder: Path, out: Path, built: _Built, limit: int | None, workers: int, batch: int
) -> Results:
    path = out / slug(plan.name) / f"seed-{plan.seed}-{plan.key}.jsonl"
    data = build("dataset", plan.dataset)
    wanted = len(data) if limit is None else min(limit, len(data))
    held = Results.find(path)
    if held is not None and held.path.exists() and held.finished and held.samples == wanted:
        return held
    model = plan.tested
    if plan.config is not None:
        from revseg.training.folder import spec_after

        model = model.replace(policy=spec_after(model.policy, _place(plan, folder)))
    return evaluate(built.model(model), plan.dataset, path, limit=limit, workers=workers, batch=batch, progress=False)


def _place(plan: Plan, folder: Path) -> Path:
    return folder / f"{plan.train_key}-seed-{plan.seed}"


def _notes(plans: Sequence[Plan], runs: Sequence[Run]) -> tuple[str, ...]:
    """What a reader of the figures has to know."""
    notes = [
        f"{run.variant}, seed {run.seed}: {run.crashed} samples crashed, and count as zero"
        for run in runs
        if run.crashed
    ]
    same = [p.name for p in plans if p.config is not None and described(p.train_on) == described(p.dataset)]
    if same:
        notes.append(f"trained on the samples that they are scored on: {', '.join(dict.fromkeys(same))}")
    other = [run.variant for run in runs if run.truth != runs[0].truth]
    if other:
        notes.append(f"scored on other scenes or questions than the first: {', '.join(dict.fromkeys(other))}")
    versions = [run.header["versions"] for run in runs]
    mixed = sorted({name for one in versions for name in one if one[name] != versions[0].get(name)})
    if mixed:
        notes.append(f"not all runs are of the same versions of {', '.join(mixed)}")
    return tuple(notes)
