"""Where the time goes in one GRPO step and in one evaluation run on a CPU, with the policy that revseg carries.

    python benchmarks/speed/profile_step.py --out benchmarks/results/speed/profile_step.json

Seconds of CPU under Python's profiler, by part of the library, each part without the parts under it; and torch's
operations that took the most. Scenes are the library's own `shapes`.
"""

import cProfile
import pstats
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import measure

# Part: (file, function) whose cumulative time it is. A part that runs inside another is taken off the other.
GRPO = {
    "draw and read scenes": [("rollouts.py", "draw"), ("pipeline.py", "clip")],
    "rollouts: prompts, tokens, patches": [("encoding.py", "_encode"), ("converse.py", "shown")],
    "rollouts: reading prompts (prefill)": [("session.py", "_feed")],
    "rollouts: decoding": [("session.py", "_decode")],
    "rewards": [("score.py", "__call__")],
    "update: forward": [("scoring.py", "logprobs")],
    "update: backward": [("_tensor.py", "backward")],
    "update: optimizer": [("optim.py", "descend")],
}
EVALUATION = {
    "draw and read scenes": [("shapes.py", "__getitem__"), ("pipeline.py", "clip")],
    "policy: prompts, tokens, patches": [("encoding.py", "_encode"), ("converse.py", "shown")],
    "policy: reading prompts (prefill)": [("session.py", "_feed")],
    "policy: decoding": [("session.py", "_decode")],
    "tracker": [("pipeline.py", "track")],
    "scores": [("score.py", "__call__"), ("metrics.py", "j_and_f")],
}


def grpo(prompts: int, rollouts: int, tokens: int) -> Callable[[], Any]:
    from accelerate import Accelerator

    import revseg
    from revseg.objectives.completed import completed
    from revseg.registry import build
    from revseg.training.config import TrainConfig
    from revseg.training.grpo import judge
    from revseg.training.optimizers import descend, make_optimizers
    from revseg.training.prepare import prepare, trained
    from revseg.training.update import update
    from revseg.types import Sampling

    settings = TrainConfig(
        queries_per_step=prompts, group_size=rollouts, objective="grpo:beta=0", max_new_tokens=tokens
    )
    model = revseg.ReVSeg(sampling=Sampling(1.0, max_new_tokens=tokens)).resolved()
    policy: Any = model.built_policy
    prepare(policy, settings)
    optimizers = make_optimizers(policy.model, "adamw", settings.lr)
    scenes, accelerator = build("dataset", "shapes"), Accelerator(cpu=True)

    def run() -> None:
        judged = judge(model, scenes, settings, 0, accelerator)
        update(policy, completed(build("objective", settings.objective)), None, judged, settings, accelerator)
        descend(optimizers, trained(policy), 1.0)

    return run


def evaluation(samples: int) -> Callable[[], Any]:
    import revseg
    from revseg.evaluation import evaluate

    model = revseg.ReVSeg()

    def run() -> None:
        with tempfile.TemporaryDirectory() as out:
            evaluate(model, "shapes", Path(out, "run.jsonl"), limit=samples, progress=False)

    return run


def profiled(run: Callable[[], Any], parts: Mapping[str, list[tuple[str, str]]]) -> dict[str, Any]:
    """Seconds by part and in all, by cProfile on the CPU's clock."""
    watch = cProfile.Profile(time.process_time)
    watch.runcall(run)
    stats: dict[Any, Any] = pstats.Stats(watch).stats  # pyright: ignore[reportAttributeAccessIssue]
    whole = sum(own for _, _, own, _, _ in stats.values())
    found = {}
    for part, functions in parts.items():
        found[part] = sum(
            total
            for (file, _, name), (_, _, _, total, _) in stats.items()
            if (Path(file).name, name) in functions
        )  # fmt: skip
    found["everything else"] = max(0.0, whole - sum(found.values()))
    return {"seconds": whole, "share": {name: round(part / whole, 3) for name, part in found.items()}}


def operations(run: Callable[[], Any], most: int = 8) -> dict[str, float]:
    """Share of torch's own CPU time by operation, the largest first."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as watch:
        run()
    events = watch.key_averages()
    whole = sum(e.self_cpu_time_total for e in events)
    top = sorted(events, key=lambda e: -e.self_cpu_time_total)[:most]
    return {e.key: round(e.self_cpu_time_total / whole, 3) for e in top}


def main() -> None:
    import torch

    given = measure.arguments(__doc__).parse_args()
    torch.set_num_threads(1)
    prompts, replies, tokens, samples = (1, 2, 4, 1) if given.small else (4, 8, 64, 6)
    rows = []
    for what, run, parts in (
        (f"a GRPO step, {prompts} prompts x {replies}", grpo(prompts, replies, tokens), GRPO),
        (f"evaluation of {samples} samples, batch of 1, tracker flow", evaluation(samples), EVALUATION),
    ):
        run()  # what is loaded and compiled at the first call is not counted
        rows.append({"what": what, **profiled(run, parts), "torch": operations(run)})
    measure.report(rows, given.out)


if __name__ == "__main__":
    main()
