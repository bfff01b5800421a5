"""`evaluate` runs a model on a dataset and writes a results file, in parallel and resumable."""

import contextlib
import os
import sys
from collections.abc import Generator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, fields, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from revseg import output
from revseg.devices import own_gpu
from revseg.errors import InputError, RevsegError
from revseg.evaluation.in_flight import conversations_at_a_time, served
from revseg.evaluation.manifest import make_header
from revseg.evaluation.results import Results, merge, shards
from revseg.evaluation.rows import build_parts, make_rows
from revseg.evaluation.rows_in_flight import rows_in_flight
from revseg.evaluation.shard import append, check_same_run, shard
from revseg.job import place_in_job
from revseg.locks import end_with_parent
from revseg.pipeline import ReVSeg
from revseg.progress import tracked
from revseg.registry import build
from revseg.types import Dataset


@dataclass(frozen=True)
class _Job:
    """The arguments of every worker."""

    model: ReVSeg
    dataset: Any
    out: Path
    limit: int | None
    batch: int
    concurrency: int | None
    retry: bool
    progress: bool


def evaluate(
    model: ReVSeg,
    dataset: Any,
    out: str | Path,
    *,
    limit: int | None = None,
    resume: bool = True,
    workers: int = 1,
    batch: int = 1,
    concurrency: int | None = None,
    retry: bool = False,
    progress: bool = True,
) -> Results:
    """Run the model on every sample and write one row each; see `Results` for the format.

    `dataset` is a spec or a `Dataset`. A run that was killed continues when it is called again and ends with the same
    file, except for the timings; `resume=False` starts over. Crashed samples are run again only with `retry`. `limit`
    can be raised later. The model has to be the same: InputError says what differs.

    `workers` processes share the samples, each with its own copy of the model (torch's threads and the GPUs are divided
    among them). Under torchrun, srun, in a SLURM array, or in any job that sets RANK and WORLD_SIZE (`revseg.job`),
    each process takes its part, and the last one to finish merges them. Worker i takes the samples i, i + workers, ...,
    so no row is written twice. With several workers the model and the dataset have to be picklable, which specs always
    are, and a script needs `if __name__ == "__main__":`.

    A served policy (`openai`) gets `concurrency` requests at a time per worker, by default its own `concurrency`, while
    finished conversations are tracked. Plans, prompts and parsers then run in a thread of their own. Other policies,
    and a served one with `batch` above 1, are asked about `batch` samples at a time.

    A sample that crashes becomes a row with its error; `results.summary()` counts them. SpecError for a part that does
    not exist, OutputError when `out` cannot be written or another process is writing it.
    """
    if workers < 1 or batch < 1 or (limit is not None and limit < 0):
        raise InputError(
            f"expected workers and batch of 1 or more and no negative limit; got {workers}, {batch}, {limit}"
        )
    if concurrency is not None and not (type(concurrency) is int and concurrency >= 1):
        raise InputError(f"expected concurrency of 1 or more, a whole number, or None; got {concurrency!r:.80}")
    path = output.check_file(out, overwrite=True)
    rank, world = _place_in_job() if workers == 1 else (0, workers)
    if retry and workers == 1 and world > 1:
        raise InputError("with several ranks crashed samples cannot be tried again safely: use one, or workers=N")
    if not resume:
        _start_over(path, world if workers == 1 else 1)
    job = _Job(model, dataset, path, limit, batch, concurrency, retry, progress and sys.stderr.isatty())
    if workers == 1:
        _work(job, rank, world)
    else:
        _spawn(job, workers)
    return merge(path)


def _work(job: _Job, rank: int, world: int) -> None:
    """Make the missing rows of one worker."""
    data: Dataset = build("dataset", job.dataset)
    samples = len(data) if job.limit is None else min(job.limit, len(data))
    header = make_header(job.model, job.dataset, data, samples)
    done: set[int] = set()
    results = Results.find(job.out)
    if results is not None:
        check_same_run(results, header)
        done = {row.index for row in results if not row.crashed} if job.retry else set(results.places)
        if results.finished and results.samples == samples and not job.retry:
            return
    todo = [index for index in range(rank, samples, world) if index not in done]
    many = 1
    if todo:
        build_parts(job.model)
        many = conversations_at_a_time(job.model.built_policy, job.concurrency, job.batch)
    if todo or results is None:  # a worker without samples writes a header too, so that there is a file
        rows = _rows(job, data, todo, many)
        with shard(job.out, rank, header) as file, contextlib.closing(rows):  # an error ends the open conversations
            for row in tracked(rows, "evaluating", len(todo), show=job.progress and world == 1):
                append(file, row)


def _rows(job: _Job, data: Dataset, todo: list[int], many: int) -> Generator[dict[str, Any], None, None]:
    """The rows of these samples, in order; `many` is the number of requests at a time of a served policy."""
    if many > 1 and (policy := served(job.model.built_policy)) is not None:
        yield from rows_in_flight(job.model, policy, data, todo, many)
    else:
        yield from make_rows(job.model, data, todo, job.batch)


def _start_over(path: Path, world: int) -> None:
    held = [p for p in (path, *shards(path)) if p.exists()]
    if held and world > 1:
        raise InputError(
            f"{path} exists: with several ranks nobody can start over safely; remove it and its shards first"
        )
    if path.exists():
        Results.open(path)  # InputError: not ours to replace
    for file in held:
        file.unlink()


def _place_in_job() -> tuple[int, int]:
    """(rank, world) as torchrun, SLURM or a SLURM array set them."""
    found = place_in_job(arrays=True)
    if found.world > 1:
        own_gpu(found.local)
    return found.rank, found.world


def _spawn(job: _Job, workers: int) -> None:
    """One process per worker, each in its own pool, so that a killed worker does not end the others."""
    specs = {field.name: getattr(job.model, field.name) for field in fields(ReVSeg)}
    plain = replace(job, model=ReVSeg(**specs), progress=False)  # without built parts
    context = get_context("spawn")
    pools = [ProcessPoolExecutor(1, mp_context=context, initializer=end_with_parent) for _ in range(workers)]
    try:
        pending = {pool.submit(_child, plain, rank, workers): rank for rank, pool in enumerate(pools)}
        _join(pending, job)
    finally:
        for pool in pools:
            pool.shutdown(wait=True, cancel_futures=True)


def _join(pending: dict[Future[None], int], job: _Job) -> None:
    errors: list[tuple[int, BaseException]] = []
    left = set(pending)
    while left:
        done, left = wait(left, timeout=2.0 if job.progress else None, return_when=FIRST_COMPLETED)
        errors += [(pending[future], error) for future in done if (error := future.exception()) is not None]
        if job.progress:
            size = sum(p.stat().st_size for p in shards(job.out)) / 2**20
            print(f"\r{len(left)} workers at it, {size:.1f} MiB of rows", end="" if left else "\n", file=sys.stderr)
    for rank, error in errors:
        if isinstance(error, BrokenProcessPool):
            raise RevsegError(
                f"worker {rank} was killed (out of memory?); the rows written are kept: run again to continue"
            ) from error
        if not isinstance(error, RevsegError) and "pickle" in f"{error!r}".lower():
            raise InputError(
                f"the model or dataset cannot be sent to other processes ({error}): name its parts by specs, or "
                "use workers=1"
            ) from error
        raise error


def _child(job: _Job, rank: int, world: int) -> None:
    share = max(1, (os.cpu_count() or 1) // world)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
        os.environ.setdefault(name, str(share))  # before torch and OpenCV are loaded
    own_gpu(rank)
    _work(job, rank, world)
