"""What the ablation scripts share: the starting point, the arguments, and the record that each of them leaves."""

import argparse
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import revseg
from revseg import ReVSeg, Sampling, Table, TrainConfig
from revseg.ablation.table import plain
from revseg.evaluation.manifest import files_of
from revseg.serialise import versions
from revseg.shapes.checkpoints import ASSETS
from revseg.spec import format_spec, parse_spec

HERE = Path(__file__).parent
SUPERVISED = "small_mixed"
START = f"qwen:model={SUPERVISED}"
CAREFUL = "qwen:model=small_sft"  # taught by the careful expert alone
TRAINED = "qwen:model=small_grpo"
TAUGHT = (
    "The starting checkpoint is a small policy that comes with revseg, fine-tuned on expert conversations about the "
    "train split of the same synthetic world (benchmarks/train_small_policy.py). It was taught two manners: in 40 % "
    "of its last conversations the expert was careful (thinking tells what is seen, the keyframe shows at least half "
    "of the target's largest box, boxes are rounded to 2 pixels), in 60 % in a hurry (thinking is the conclusion "
    "alone, the keyframe shows anything of the target, boxes are rounded to 8 pixels). A gain by RL is first of all "
    "the choice of the careful manner, which was there to be found; the paper's start was taught neither. It was also "
    "taught both plans: two rounds (keyframe, then box) in 85 % of the conversations, keyframe and box in one round "
    "in 15 %. Which plan is better before RL is therefore that lesson and no property of the plan; the paper starts "
    "from a Qwen2.5-VL-7B that was taught neither."
)


@dataclass(frozen=True)
class Size:
    """How much work: RL steps, seeds of trained variants, questions, and settings of model and training."""

    steps: int = 30
    seeds: tuple[int, ...] = (0, 1)
    samples: int = 150
    model: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(
        default_factory=lambda: {"queries_per_step": 8, "lr": 1e-4}
    )  # shorter than the full run
    world: str = ""  # more options of the world, such as "frames=8,height=48"

    @property
    def base(self) -> ReVSeg:
        """The model that variants differ from: the small policy, `flow`, Eq. 8, replies of at most 192 tokens."""
        return ReVSeg(**{"policy": START, "tracker": "flow", "sampling": Sampling(max_new_tokens=192), **self.model})

    @property
    def config(self) -> TrainConfig:
        """The training of configs/shapes_grpo.toml, as many steps long as asked, with `train`'s settings instead."""
        settings = tomllib.loads((HERE / "configs" / "shapes_grpo.toml").read_text("utf-8"))["train"]
        return TrainConfig(**{**settings, "steps": self.steps, "save_every": 5, **self.train})

    @property
    def test(self) -> str:
        """Questions of the test split, which no training reads."""
        return self.shapes(self.samples, "test")

    def shapes(self, samples: int, split: str, more: str = "") -> str:
        """The world's spec; `more` options win over those of `world`."""
        options = [parse_spec(f"shapes:{text}")[1] for text in (self.world, more) if text]
        return format_spec("shapes", {"size": samples, "split": split, **{k: v for o in options for k, v in o.items()}})

    def ablate(self, variants: Mapping[str, Any], out: str | Path, dataset: str | None = None) -> Table:
        """`revseg.ablate` at this size; trainings lie beside `out`, so that ablations that share one do it once."""
        return revseg.ablate(
            variants,
            dataset or self.test,
            self.seeds,
            self.config,
            out,
            base=self.base,
            train_on=self.shapes(100_000, "train"),
            trained=Path(out).parent / "trained",
            batch=16,
            report=lambda line: print(line, flush=True),
        )


def gap(table: Table, name: str, base: str, figure: str) -> dict[str, float | None]:
    """How far a variant is from another, with its interval, as the records hold it."""
    found = table.difference(name, base, figure)
    return {"difference": found.difference, "low": found.low, "high": found.high}


Run = Callable[[Path, Size], Any]


def main(name: str, about: str | None, run: Run, default: Size | None = None) -> None:
    """The command line of a script: runs it, prints the table, writes `NAME.json` and perhaps `NAME.png`."""
    size = default or Size()
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=size.steps, help="RL steps of each training")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(size.seeds), help="of trained variants")
    parser.add_argument("--samples", type=int, default=size.samples, help="questions of the test split")
    parser.add_argument("--queries-per-step", type=int, default=size.config.queries_per_step, help="queries a step")
    parser.add_argument("--group-size", type=int, default=size.config.group_size, help="conversations a query")
    parser.add_argument("--policy", default=size.model.get("policy", START), help="where to start from")
    parser.add_argument("--out", type=Path, default=Path("runs/ablations"), help="work in progress; resumes from it")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where the record is written")
    args = parser.parse_args()
    train = {**size.train, "queries_per_step": args.queries_per_step, "group_size": args.group_size}
    size = Size(args.steps, tuple(args.seeds), args.samples, {"policy": args.policy}, train)
    began = time.perf_counter()
    found = run(args.out / name, size)
    write(args.results, name, found, size, time.perf_counter() - began)


def write(results: Path, name: str, found: Any, size: Size, seconds: float) -> None:
    """The record as JSON, the table on the terminal, and a figure where matplotlib is there to draw it.

    Other figures that a script drew come along: {"figures": {name: path}}.
    """
    found = {"table": found} if isinstance(found, Table) else found
    table: Table = found["table"]
    more = {key: value for key, value in found.items() if key not in ("table", "figures")}
    more = plain(more)
    record = {**circumstances(size), "seconds_of_last_call": round(seconds, 1), **more, "table": table.to_dict()}
    results.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    (results / f"{name}.json").write_text(text, "utf-8")
    for drawn, path in found.get("figures", {}).items():
        shutil.copyfile(path, results / f"{drawn}.png")
    print(table.to_markdown())
    if more:
        print(json.dumps(more, indent=2, ensure_ascii=False))
    try:
        table.plot(results / f"{name}.png")
    except revseg.errors.MissingExtraError as error:
        print(error, file=sys.stderr)


def circumstances(size: Size) -> dict[str, Any]:
    """What it takes to print the same figures again."""
    script = Path(sys.argv[0])
    place = script.resolve()
    shown = place.relative_to(HERE.parent) if place.is_relative_to(HERE.parent) else Path(script.name)
    record = {
        "command": shlex.join(["python", str(shown), *sys.argv[1:]]),
        "seeds": list(size.seeds),
        "samples": size.samples,
        "train": size.config.to_dict(),
        "policy": {"spec": size.base.policy, "files": files_of(size.base.to_dict())},
        "machine": machine(),
        "versions": versions(),
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }
    if size.base.policy == START:
        record["starting_checkpoint"] = TAUGHT
        record["taught"] = json.loads((ASSETS / SUPERVISED / "revseg.json").read_text("utf-8"))
    return record


def machine() -> str:
    """Cores, processor and accelerator, in words."""
    return f"{os.cpu_count()} cores, {processor()}, {accelerator()}"


def processor() -> str:
    """The processor's name, where the system tells."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].partition(":")[2].strip() if names else platform.machine()


def accelerator() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"


def commit() -> str | None:
    """The commit checked out, with "+" when tracked files differ from it; None outside a checkout."""
    try:
        asked = ["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"]
        head = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(["git", "-C", str(HERE), "diff", "--quiet", "HEAD"], check=False).returncode
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if changed else "")
