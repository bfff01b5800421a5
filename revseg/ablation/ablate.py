"""`ablate`: train and score variants of a model in the same way. Continues after an interruption."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from revseg import output
from revseg.ablation.run_statistics import Run
from revseg.ablation.table import Table
from revseg.ablation.variants import Trial, dataset_record, make_trials, slug
from revseg.errors import InputError
from revseg.evaluation.results import Results
from revseg.evaluation.run import evaluate
from revseg.job import place_in_job
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
    """Train (with `train`) and score every variant with every seed. The others are compared with the first variant.

    A variant says what it changes in `base`: a mapping of `ReVSeg` settings; a whole `ReVSeg`; a pair (settings,
    training), where training holds the settings that differ from `train`, or None for no training; or a `Variant`,
    which can also change test settings, the dataset and the seeds. A seed is used in training and in sampling at test.

    Training uses `train_on`: by default the dataset's train split, or the dataset itself when it has no splits, which
    the table's notes then say. All trained variants are scored by the rewards of `base`.

    `out` gets a results file of `evaluate` for each variant and seed. `trained` (by default `out/trained`) gets a
    folder of `revseg.train` for each distinct training: variants that differ only at test share it, and so do
    ablations with the same `trained`. Called again, it continues and repeats nothing; file names depend on the
    settings. `limit`, `workers` and `batch` are those of `evaluate`. `report` is called with a line per finished step.

    Raises InputError or SpecError with the name of the variant, where possible before any work.
    """
    if place_in_job().world > 1:
        raise InputError("ablate runs in one process: train under torchrun with revseg.train, then compare the folders")
    start = base if isinstance(base, ReVSeg) else ReVSeg().replace(**dict(base or {}))
    trials = make_trials(variants, start, dataset, seeds, train, train_on)
    place = Path(out)
    folder = place / "trained" if trained is None else Path(trained)
    cache = _PolicyCache()
    runs = []
    for number, trial in enumerate(trials, 1):
        head = f"{number} of {len(trials)}: {trial.name}, seed {trial.seed}"
        training = _train(trial, folder, lambda line, head=head: report(f"{head}: {line}"))
        results = _evaluate(trial, folder, place, cache, limit, workers, batch)
        runs.append(Run.read(trial.name, trial.seed, results, protocol, training))
        main = runs[-1].scores.overall.get("J&F")
        report(f"{head}: {len(results)} queries" + ("" if main is None else f", J&F {100 * main:.1f}"))
    return Table(tuple(runs), _notes(trials, runs), draws)


class _PolicyCache:
    """The policy used last, so that consecutive variants with the same one load it once."""

    def __init__(self) -> None:
        self.last: ReVSeg | None = None

    def model(self, wanted: ReVSeg) -> ReVSeg:
        """The wanted model, with the built policy of the last one if its spec is the same."""
        policy = None if self.last is None else self.last.policy
        same = policy is wanted.policy or (isinstance(policy, str | Mapping) and policy == wanted.policy)
        if self.last is not None and same:
            changes = {f.name: getattr(wanted, f.name) for f in fields(ReVSeg) if f.name != "policy"}
            wanted = self.last.replace(**changes)
        self.last = wanted
        return wanted


def _train(trial: Trial, folder: Path, report: Callable[[str], None]) -> dict[str, Any]:
    """Train unless that is done; the record of the training for the table, {} without training."""
    if trial.config is None:
        return {}
    from revseg.training.grpo import train

    place, data = _place(trial, folder), dataset_record(trial.train_on)
    mark = place.with_name(f"{place.name}.json")  # written when the weights are complete
    if not mark.exists():
        start = time.perf_counter()
        train(trial.trained, trial.train_on, place, trial.config)
        record = {"model": trial.trained.to_dict(), "train": trial.config.to_dict(), "train_on": data}
        output.write_text(mark, json.dumps(record, indent=2, default=str) + "\n", overwrite=True)
        report(f"trained in {time.perf_counter() - start:.0f} s")
    settings = {"folder": str(place), "train_on": data, "settings": trial.config.to_dict()}
    return {**settings, **_log_summary(place / "log.jsonl", mark)}


def _log_summary(log: Path, mark: Path) -> dict[str, Any]:
    """Speed, rewards and warnings of a training, from its log."""
    from revseg.training.log import read_log

    rows = read_log(log)
    columns = ("seconds/rollout", "seconds/update", "reward")
    if not rows or not all(column in row for row in rows for column in columns):
        raise InputError(f"{log.parent}: expected a training log with {', '.join(columns)}; remove it and {mark}")
    seconds = [row["seconds/rollout"] + row["seconds/update"] for row in rows]
    tenth = max(1, len(rows) // 10)
    first, last = (sum(row["reward"] for row in part) / tenth for part in (rows[:tenth], rows[-tenth:]))
    return {
        "steps": len(rows),
        "seconds_per_step": sum(seconds) / len(seconds),
        "reward_first_tenth": first,
        "reward_last_tenth": last,
        "warnings": sorted({warning.kind for row in rows for warning in row.get("warnings", ())}),
    }


def _evaluate(
    trial: Trial, folder: Path, out: Path, cache: _PolicyCache, limit: int | None, workers: int, batch: int
) -> Results:
    path = out / slug(trial.name) / f"seed-{trial.seed}-{trial.key}.jsonl"
    data = build("dataset", trial.dataset)
    wanted = len(data) if limit is None else min(limit, len(data))
    done = Results.find(path)
    if done is not None and done.path.exists() and done.finished and done.samples == wanted:
        return done
    model = trial.tested
    if trial.config is not None:
        from revseg.training.folder import spec_after

        model = model.replace(policy=spec_after(model.policy, _place(trial, folder)))
    return evaluate(cache.model(model), trial.dataset, path, limit=limit, workers=workers, batch=batch, progress=False)


def _place(trial: Trial, folder: Path) -> Path:
    return folder / f"{trial.train_key}-seed-{trial.seed}"


def _notes(trials: Sequence[Trial], runs: Sequence[Run]) -> tuple[str, ...]:
    """Caveats to print below the table."""
    notes = [
        f"{run.variant}, seed {run.seed}: {run.crashed} samples crashed, and count as zero"
        for run in runs
        if run.crashed
    ]
    same = [t.name for t in trials if t.config is not None and dataset_record(t.train_on) == dataset_record(t.dataset)]
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
