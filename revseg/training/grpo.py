"""GRPO on the two-round conversation (Eq. 9 and 10): one loop, read from top to bottom.

Several processes (torchrun) share a step's queries. Gradients are added up over them and normalised by the counts of
the whole batch, so that two processes take the same step as one.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from revseg.objectives.completed import completed
from revseg.output import check_writable
from revseg.pipeline import ReVSeg
from revseg.registry import build
from revseg.training.ahead import Ahead, Start, starts_of
from revseg.training.checkpoint import load_checkpoint, save_checkpoint
from revseg.training.config import TrainConfig
from revseg.training.folder import alone, claim, keep, settings_of, spec_after
from revseg.training.log import Log, check_tracker
from revseg.training.memory import check_memory
from revseg.training.optimizers import descend, make_optimizers, scale_rates, warmup_then_decay
from revseg.training.prepare import autocast, prepare, reference_of, trained
from revseg.training.processes import check_shares, make_accelerator
from revseg.training.reference import Reference
from revseg.training.rollouts import Judged, draw, figures
from revseg.training.trainable import check_trainable, trainable
from revseg.training.update import batch_of, gradients
from revseg.types import Dataset, Rollout, Sample, TrainedPolicy, TrainingObjective

Report = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, eq=False)
class Run:
    """Everything that the steps of a run share."""

    model: ReVSeg
    policy: TrainedPolicy
    objective: TrainingObjective
    reference: Reference | None
    optimizers: list[Any]
    samples: Dataset
    config: TrainConfig
    accelerator: Any


def train(
    model: ReVSeg,
    dataset: Dataset | str | Mapping[str, Any],
    out: str | Path,
    config: TrainConfig | None = None,
    *,
    report: Report = lambda row: None,
) -> ReVSeg:
    """Train a fresh copy of the model's policy on a dataset (or its spec) with truth; the model with the result.

    `out` holds train.json (the settings), log.jsonl, samples.jsonl, checkpoint.pt and, at the end, the weights, which
    the policy of the result reads. Started again with the same settings, the run goes on from its checkpoint and ends
    with the weights of a run that was not stopped. `report` gets each step's row of the log, in the first process.
    A policy passed as an object instead of a spec is trained in place and should not be resumed: the reference of the
    KL is the policy as it is passed in.

    InputError when `out` holds a run with other settings, when the policy, the dataset or the objective cannot be used,
    or when the run cannot fit the device (before any weights are loaded, unless `check_memory=False`); OutputError when
    `out` cannot be written, or another process trains there.
    """
    config, out = config or TrainConfig(), Path(out)
    objective, samples, accelerator = begin(dataset, out, config)
    check_memory(model.policy, config, objective.beta)
    with alone(out, accelerator):
        run = set_up(model, objective, samples, config, accelerator)
        claim(out, settings_of(run.model, dataset, config), accelerator)
        if objective.beta > 0:
            run = replace(run, reference=reference_of(run.policy, config))
        take_steps(run, out, report)
        if accelerator.is_main_process:
            keep(run.model, out)
    accelerator.wait_for_everyone()
    return model.replace(policy=spec_after(model.policy, out))


def begin(
    dataset: Dataset | str | Mapping[str, Any], out: Path, config: TrainConfig
) -> tuple[TrainingObjective, Dataset, Any]:
    """Objective, dataset and accelerator; errors that can be seen before any model is loaded are raised here."""
    check_tracker(config.log_with)
    objective, samples = completed(build("objective", config.objective)), build("dataset", dataset)
    draw(samples, 1, 0, config.seed)  # no data or no truth
    check_writable(out)
    accelerator = make_accelerator(log_with=config.log_with, project_dir=str(out))
    check_shares(config, accelerator.num_processes)
    return objective, samples, accelerator


def set_up(model: ReVSeg, objective: TrainingObjective, samples: Dataset, config: TrainConfig, accelerator: Any) -> Run:
    """The policy loaded and prepared, its optimizers made; without a reference yet."""
    import torch

    check_trainable(model.policy, config, objective.beta)
    torch.manual_seed(config.seed)  # fresh adapters are drawn alike in every process
    model = model.replace(policy=model.policy, sampling=config.sampling).resolved()
    check_trainable(model.built_policy, config, objective.beta)
    policy = trainable(model.built_policy)
    prepare(policy, config)
    optimizers = make_optimizers(policy.model, config.optimizer, config.lr, config.weight_decay)
    return Run(model, policy, objective, None, optimizers, samples, config, accelerator)


def take_steps(run: Run, out: Path, report: Report) -> None:
    """All steps from the last checkpoint on, with log and checkpoints."""
    config, main = run.config, run.accelerator.is_main_process
    start = load_checkpoint(out / "checkpoint.pt", run.policy.model, run.optimizers)
    here = run.accelerator.process_index, run.accelerator.num_processes
    starts = starts_of(run.model, run.samples, config, range(start, config.steps), *here)
    with Log(out, run.accelerator, start) as log, starts:
        for step in range(start, config.steps):
            began = time.perf_counter()
            judged = judge(run.model, run.samples, config, step, run.accelerator, starts)
            sampled = time.perf_counter()
            row = {"step": step, **figures(judged, run.policy), **learn(run, judged, step)}
            row |= {"seconds/rollout": sampled - began, "seconds/update": time.perf_counter() - sampled}
            row["seconds/token"] = (sampled - began) / max(1, judged.tokens)
            row = log.add(row, judged if step % config.samples_every == 0 else None)
            if main:
                report(row)
            if main and ((step + 1) % config.save_every == 0 or step + 1 == config.steps):
                save_checkpoint(out / "checkpoint.pt", run.policy.model, run.optimizers, step + 1)


def judge(
    model: ReVSeg,
    dataset: Dataset,
    config: TrainConfig,
    step: int,
    accelerator: Any,
    starts: Ahead[Start] | None = None,
) -> Judged:
    """This process's share of the step's queries, `group_size` conversations about each, with their rewards.

    `starts` are at the step's first query; without them the clips are read here.
    """
    here = accelerator.process_index, accelerator.num_processes
    if starts is None:
        starts = starts_of(model, dataset, replace(config, prefetch=0), range(step, step + 1), *here)
    policy = trainable(model.built_policy)
    policy.model.eval()
    model = model.replace(sampling=replace(model.sampling, seed=config.seed * 1_000_003 + step))
    size = max(1, policy.batch_size // config.group_size)
    mine = len(range(here[0], config.queries_per_step, here[1]))
    samples: list[Sample] = []
    rollouts: list[Rollout] = []
    for done in range(0, mine, size):  # all rounds of some, then of others: only one batch's cache is in memory
        begun = starts.take(min(size, mine - done))
        samples += [sample for sample, _ in begun]
        with autocast(policy, config):
            groups = model.rollouts(
                [sample for sample, _ in begun], config.group_size, starts=[start for _, start in begun]
            )
        rollouts += [rollout for group in groups for rollout in group]
        policy.forget()  # the cache is of weights that are about to change
    truths = [
        sample.truth for sample in samples for _ in range(config.group_size) if sample.truth is not None
    ]  # see `with_truth`
    return Judged(rollouts, model.score_all(rollouts, truths), config.group_size)


def learn(run: Run, judged: Judged, step: int) -> dict[str, float]:
    """`updates_per_batch` optimizer steps on a step's rollouts; the means of their figures.

    `ratio` is that of the first update alone: there it is 1 unless sampling and training disagree on the policy.
    """
    config = run.config
    rate = warmup_then_decay(step, config.steps, config.warmup, decay=config.lr_decay)
    scale_rates(run.optimizers, rate)
    batch = batch_of(run.policy, run.objective, run.reference, judged, config, run.accelerator)
    updates: list[dict[str, float]] = []
    for _ in range(config.updates_per_batch):
        losses = gradients(run.policy, run.objective, batch, config, run.accelerator)
        norm = descend(run.optimizers, trained(run.policy), config.grad_clip)
        updates.append({**losses, "grad_norm": norm})
    columns = {name: [figures[name] for figures in updates if name in figures] for name in updates[0]}
    return {name: values[0] if name == "ratio" else sum(values) / len(values) for name, values in columns.items()}
