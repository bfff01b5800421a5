"""One GRPO step, from the video to the new weights: ours against TRL's GRPOTrainer, time and peak memory.

    python benchmarks/speed/grpo_step.py --trl TRL_ENVIRONMENT/bin/python --out benchmarks/results/speed/grpo_step.json

The same random model, prompts, group size and token counts, in processes of their own that take turns. TRL has no
video, so it is shown half as many frames as pictures: as many patches and tokens as our clip, of which every two
frames make one. One round, because a picture in a second turn is not in its plain use. Each step draws new replies of
the same length. The first step is not counted. Memory is the peak above what the process held before its first step.
`--trl` names an interpreter with trl 1.16 (and torch, transformers and Pillow).
"""

import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import measure
import numpy as np

N = 8
QUESTION = "where is the red square that moves to the left?"


def found(text: str, shown: Any) -> Any:
    """The parser: a box, whatever was said."""
    from revseg.types import Answer, Target

    return Answer((Target(0, "red", np.array([[0.0, 0.0, 0.5, 0.5]], np.float32)),))


def vowels(rollout: Any, truth: Any) -> float:
    """The reward, in both: how many different vowels a reply has."""
    return len(set("aeiou") & set(rollout.turns[0].reply.text.lower())) / 5


def prepare(folder: Path, job: dict[str, Any]) -> None:
    """Model, processor and the clips, as both read them."""
    from revseg.shapes.small_model import build_model, build_processor

    processor = build_processor([QUESTION] * 9, size=448)
    build_model(processor, hidden=job["hidden"], layers=job["layers"], heads=job["hidden"] // 32).save_pretrained(
        folder
    )
    processor.save_pretrained(folder)
    rng = np.random.default_rng(0)
    side = job["size"]
    clips = rng.integers(0, 256, (job["prompts"], job["frames"], side, side, 3), np.uint8)
    np.save(folder / "clips.npy", clips)


def ours(job: dict[str, Any]) -> dict[str, Any]:
    import torch

    import revseg
    from revseg.masks import MaskTrack
    from revseg.pipeline import ReVSeg
    from revseg.policies.hf.policy import HFPolicy
    from revseg.training.config import TrainConfig
    from revseg.types import Query, Sample
    from revseg.video import Video

    torch.set_num_threads(1)
    folder, size, frames = Path(job["folder"]), job["size"], job["frames"]
    policy = HFPolicy(str(folder))
    policy.suppressed.append(policy.codec.end_id)
    samples = []
    for i, clip in enumerate(np.load(folder / "clips.npy")):
        video = Video(f"v{i}", (size, size), 2.0, frames, clip.__getitem__)
        samples.append(Sample(video, Query(f"q{i}", QUESTION), MaskTrack.empty((size, size), range(frames))))
    rounds = ((f"keyframe_and_box_terse:size={size}", "grpo_step:found"),)
    rewards = {"grpo_step:vowels": 1.0}
    model = ReVSeg(policy=policy, plan=rounds, num_frames=frames, sampler="uniform", rewards=rewards)
    tokens = N * (job["tokens"] + 64 + frames * (size // 28) ** 2 // 2)  # a group a micro-batch, as TRL's
    settings = TrainConfig(
        steps=job["steps"] + 1, queries_per_step=job["prompts"], group_size=N, objective="grpo:beta=0",
        max_tokens_per_forward=tokens,
        max_new_tokens=job["tokens"], save_every=10_000, samples_every=10_000,
    )  # fmt: skip
    marks, drawn = [], []

    def report(row: Any) -> None:
        marks.append((time.process_time(), time.perf_counter()))
        drawn.append(row["tokens"])

    before, _ = measure.memory()
    measure.forget_peak()
    with tempfile.TemporaryDirectory() as out:
        revseg.train(model, samples, Path(out, "run"), settings, report=report)
    return {"marks": marks, "peak": measure.memory()[1] - before, "tokens": statistics.mean(drawn)}


def seconds(marks: list[list[float]]) -> tuple[list[float], list[float]]:
    """CPU and wall seconds of the steps after the first."""
    gaps = np.diff(np.array(marks), axis=0)
    return gaps[:, 0].tolist(), gaps[:, 1].tolist()


def run_trl(interpreter: str, job: Path) -> dict[str, Any]:
    script = str(Path(__file__).with_name("trl_step.py"))
    done = subprocess.run([interpreter, script, str(job)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"TRL failed under {interpreter}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def spreads(runs: list[dict[str, Any]]) -> dict[str, Any]:
    times = [seconds(run["marks"]) for run in runs]
    return {
        "cpu_s": measure.spread([t for cpu, _ in times for t in cpu]),
        "wall_s": measure.spread([t for _, wall in times for t in wall]),
        "peak_bytes": measure.spread([run["peak"] for run in runs]),
        "tokens_a_reply": statistics.mean(run["tokens"] for run in runs),
    }


def row_of(job: dict[str, Any], mine: list[Any], theirs: list[Any]) -> dict[str, Any]:
    what = f"one GRPO step, {job['prompts']} prompts x {N} replies of {job['tokens']} tokens, "
    row = {"what": what + f"{job['frames']} frames at {job['size']}", "ours": spreads(mine), "shape": job}
    if not theirs:
        return {**row, "baseline": "not measured: give --trl an interpreter with trl 1.16.0"}
    pairs = [(spreads([a]), spreads([b])) for a, b in zip(mine, theirs, strict=True)]
    return {
        **row,
        "baseline": {**spreads(theirs), "trl": theirs[0]["trl"]},
        "ratio": measure.spread([b["cpu_s"]["median"] / a["cpu_s"]["median"] for a, b in pairs]),
        "target": 1,
        "peak_share": measure.spread([a["peak_bytes"]["median"] / b["peak_bytes"]["median"] for a, b in pairs]),
        "peak_target": 0.5,
    }


def main() -> None:
    parser = measure.arguments(__doc__)
    sizes = {"prompts": 1, "frames": 16, "size": 448, "tokens": 64, "hidden": 128, "layers": 4, "steps": 2, "turns": 2}
    for name, value in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--trl", help="an interpreter that has TRL")
    parser.add_argument("--job", type=Path, help="run ours on this job and print the figures")
    given = parser.parse_args()
    if given.job:
        print(json.dumps(ours(json.loads(given.job.read_text()))))
        return
    if given.small:
        vars(given).update(prompts=1, frames=4, size=56, tokens=4, hidden=64, layers=2, steps=1, turns=1)
    job: dict[str, Any] = {name: getattr(given, name) for name in sizes}
    mine, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), job)
        path = Path(folder, "job.json")
        path.write_text(json.dumps({**job, "folder": folder}))
        for _ in range(given.turns):
            mine.append(measure.run_child("--job", str(path)))
            if given.trl:
                theirs.append(run_trl(given.trl, path))
    measure.report([row_of(job, mine, theirs)], given.out)


if __name__ == "__main__":
    main()
