"""One model on every benchmark found below a folder, with the figures of ReVSeg's paper beside its own.

    python benchmarks/paper.py --root data --out runs/paper --policy qwen:model=Qwen/Qwen2.5-VL-7B-Instruct

Each set is in a folder of its usual name (`ReasonVOS`, `ReVOS`, `ref-davis`, ...; docs/how-to/datasets.md says what is
inside). A set that is not there is named and left out. Run again after an interruption, it continues; run again when
done, it prints the table. The last column says why a figure of the paper is not comparable with the run.
"""

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ablations import commit, machine

from revseg import ReVSeg, Sampling
from revseg.datasets.presets import folder_of
from revseg.errors import InputError, RevsegError
from revseg.evaluation import Results, evaluate
from revseg.evaluation.beside_published import Beside, beside_published
from revseg.evaluation.published import FigureFields, read_published
from revseg.output import check_writable, write_text
from revseg.registry import build
from revseg.serialise import versions
from revseg.types import Dataset

RESULTS = {"model": "ReVSeg-7B", "source": "the paper's results"}  # the paper's main table in published.toml
FIGURES = ("J", "F", "J&F", "gIoU", "cIoU")


@dataclass(frozen=True)
class Part:
    """One split of a benchmark, and the protocols that score it."""

    name: str
    options: Mapping[str, Any]
    protocols: tuple[str, ...]

    @property
    def label(self) -> str:
        """The name of its results file."""
        return "-".join([self.name, str(self.options["split"])])


PARTS = (  # the paper's, then the others
    Part("reason_vos", {"split": "test"}, ("reason_vos",)),
    Part("revos", {"split": "valid"}, ("revos",)),
    Part("ref_youtube_vos", {"split": "valid"}, ("ref_youtube_vos",)),
    Part("ref_davis17", {"split": "valid"}, ("ref_davis17", "ref_davis17_b")),
    Part("mevis", {"split": "valid_u", "version": 1}, ("mevis",)),
    Part("reason_seg", {"split": "val"}, ("reason_seg",)),
    Part("reason_seg", {"split": "test"}, ("reason_seg",)),
    Part("long_rvos", {"split": "valid"}, ("long_rvos",)),
    Part("groundmore", {"split": "test"}, ("groundmore",)),
    Part("ref_sav", {"split": "valid"}, ("ref_sav",)),
    Part("fevos", {"split": "val"}, ("fevos",)),
    Part("ok_vos", {"split": "test"}, ("ok_vos",)),
)


@dataclass(frozen=True)
class Line:
    """One line of the table; figures in percent. `why` says why the paper's are not comparable; "" when they are."""

    set: str
    split: str
    protocol: str
    group: str
    queries: int
    ours: Mapping[str, float]
    paper: Mapping[str, float]
    why: str


@dataclass(frozen=True)
class Work:
    """How the sets are evaluated; as `revseg.evaluate` has it."""

    limit: int | None = None
    workers: int = 1
    batch: int = 1
    masks: str | None = None  # of Ref-YouTube-VOS's valid videos, which its authors give apart


def run(
    model: ReVSeg, root: Path, out: Path, work: Work | None = None, report: Callable[[str], None] = print
) -> tuple[list[Line], list[str]]:
    """The lines of the table, and a sentence about each set that was left out."""
    work = work or Work()
    if not root.is_dir():
        raise InputError(f"{root}: expected the folder that holds the benchmarks")
    check_writable(out)
    lines: list[Line] = []
    left_out: list[str] = []
    for part in PARTS:
        spec = _spec(part, root, work)
        if isinstance(spec, str):
            left_out.append(f"{part.name}, {part.options['split']}: {spec}")
            continue
        report(f"{part.label}: {spec['root']}")
        place = out / f"{part.label}.jsonl"
        results = evaluate(model, spec, place, limit=work.limit, workers=work.workers, batch=work.batch)
        lines += [line for protocol in part.protocols for line in _lines(part, protocol, results)]
    return lines, left_out


def _spec(part: Part, root: Path, work: Work) -> dict[str, Any] | str:
    """The dataset's spec, or why it cannot be scored."""
    try:
        folder = folder_of(root, part.name)
        if folder is None:
            return "no such folder"
        spec = {"name": part.name, "root": str(folder), **part.options}
        if part.name == "ref_youtube_vos" and work.masks is not None:
            spec["masks"] = work.masks
        data = build("dataset", spec)
    except RevsegError as error:
        return str(error)
    return spec if _has_masks(data) else "no masks to score by"


def _has_masks(data: Dataset) -> bool:
    """Whether the first sample that can be read has a truth; sets have masks for all their samples or for none."""
    for index in range(len(data)):
        try:
            return data[index].truth is not None
        except RevsegError:  # its row will tell
            continue
    return False


def _lines(part: Part, protocol: str, results: Results) -> Iterator[Line]:
    """The overall figures, and those of each type of expression for which the paper has figures."""
    beside = beside_published(results, protocol)
    found = {figure["group"]: (figure, why) for figure, why in _of_paper(beside, str(part.options["split"]))}
    title = read_published().sets.get(part.name, {"title": part.name})["title"]
    groups = {"overall": beside.scores.overall, **beside.scores.groups}
    for group, values in groups.items():
        if group == "overall" or group in found:
            figure, why = found.get(group, (None, ""))
            ours = {name: 100 * values[name] for name in FIGURES if name in values}
            theirs = {} if figure is None else figure["scores"]
            yield Line(title, beside.split, protocol, group, len(results), ours, theirs, why)


def _of_paper(beside: Beside, split: str) -> Iterator[tuple[FigureFields, str]]:
    """The figures of the paper's main table for this split, each with why it is not comparable."""
    for figure, why in (*((figure, "") for figure in beside.comparable), *beside.others):
        if all(figure[key] == value for key, value in RESULTS.items()) and figure["split"] in (split, "not stated"):
            yield figure, why


def table(lines: Sequence[Line]) -> str:
    """Markdown: this run's figure / the paper's, in percent."""
    columns = ["set", "split", "protocol", "type", "queries", *FIGURES, "not comparable with the paper's because"]
    rows = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    for line in lines:
        cells = [line.set, line.split, line.protocol, line.group, str(line.queries)]
        cells += [_cell(line.ours.get(name), line.paper.get(name)) for name in FIGURES]
        rows.append(f"| {' | '.join([*cells, line.why if line.paper else ''])} |")
    return "\n".join(rows)


def _cell(ours: float | None, paper: float | None) -> str:
    if ours is None and paper is None:
        return ""
    return " / ".join("-" if value is None else f"{value:.1f}" for value in (ours, paper))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="the folder that holds the benchmarks")
    parser.add_argument("--out", type=Path, default=Path("runs/paper"), help="results files; resumes from them")
    parser.add_argument("--policy", required=True, help="such as qwen:model=Qwen/Qwen2.5-VL-7B-Instruct")
    parser.add_argument("--tracker", default="sam2", help="the paper's by default")
    parser.add_argument("--frames", type=int, default=None, help="default: the policy's own, else the paper's 16")
    parser.add_argument("--max-new-tokens", type=int, default=None, help="of a reply")
    parser.add_argument("--ref-youtube-vos-masks", default=None, help="a folder of <video>/<exp_id>/<frame>.png")
    parser.add_argument("--limit", type=int, default=None, help="queries of each set; such a run is not comparable")
    parser.add_argument("--workers", type=int, default=1, help="processes, one per GPU")
    parser.add_argument("--batch", type=int, default=1, help="queries per batch of the policy")
    return parser.parse_args()


def main() -> None:
    """The command line: evaluates, writes `paper.json` into the folder of the results, prints the table."""
    args = _arguments()
    sampling = Sampling(max_new_tokens=args.max_new_tokens)
    model = ReVSeg(policy=args.policy, tracker=args.tracker, num_frames=args.frames, sampling=sampling)
    work = Work(args.limit, args.workers, args.batch, args.ref_youtube_vos_masks)
    lines, left_out = run(model, args.root, args.out, work, lambda line: print(line, file=sys.stderr, flush=True))
    record = {
        "command": shlex.join(["python", "benchmarks/paper.py", *sys.argv[1:]]),
        "model": model.resolved().to_dict(),
        "machine": machine(),
        "versions": versions(),
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "lines": [asdict(line) for line in lines],
        "left_out": left_out,
    }
    write_text(args.out / "paper.json", json.dumps(record, indent=2, default=str) + "\n", overwrite=True)
    print("this run / the paper (ReVSeg-7B), in percent\n")
    print(table(lines))
    if left_out:
        print("\nleft out:\n" + "\n".join(f"- {sentence}" for sentence in left_out))


if __name__ == "__main__":
    try:
        main()
    except RevsegError as error:
        sys.exit(f"paper.py: {error}")
