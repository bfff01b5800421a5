"""A run beside the published figures that it can be compared with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from revseg.evaluation.published import NOT_STATED, FigureFields, Published, SetFields, read_published
from revseg.evaluation.results import Results
from revseg.evaluation.scores.pairs import Missing
from revseg.evaluation.scores.protocols import score
from revseg.evaluation.scores.table import Scores
from revseg.registry import options_of, registry
from revseg.spec import parse_spec


@dataclass(frozen=True)
class Beside:
    """A run and the published figures of its set: comparable ones, and the others with the reason."""

    scores: Scores
    dataset: str
    split: str
    frames: int | None
    comparable: tuple[FigureFields, ...]
    others: tuple[tuple[FigureFields, str], ...]
    elsewhere: int  # figures of other sets

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON. Scores of the run are in [0, 1], published ones in percent."""
        return {
            "run": {"dataset": self.dataset, "split": self.split, "frames": self.frames, **self.scores.to_dict()},
            "comparable": list(self.comparable),
            "not_comparable": [{**figure, "why": why} for figure, why in self.others],
            "of_other_sets": self.elsewhere,
        }

    def text(self) -> str:
        """For a terminal, in percent."""
        frames = NOT_STATED if self.frames is None else self.frames
        of = f"{self.dataset or 'no known set'}, split {self.split or NOT_STATED}, protocol {self.scores.protocol}"
        lines = [f"this run: {of}, frames {frames}"]
        lines += [f"  {group}: {_in_percent(values)}" for group, values in _run_scores(self.scores).items()]
        lines.append("comparable:" if self.comparable else "comparable: none")
        lines += [f"  {_head(f)}, frames {f['frames']}: {_in_percent(f['scores'])}" for f in self.comparable]
        if self.others:
            lines.append("not comparable:")
            lines += [f"  {_head(figure)}: {_in_percent(figure['scores'])}: {why}" for figure, why in self.others]
        return "\n".join([*lines, f"{self.elsewhere} published figures are of other sets"])


def beside_published(
    run: Results,
    protocol: str | None = None,
    *,
    missing: Missing = "zero",
    published: Published | None = None,
) -> Beside:
    """A run's scores beside the published figures of its set that were computed in the same way.

    That is the same set, protocol, split and, if the figure states it, number of frames. A run on a part of the set is
    comparable with none. Raises what `score` raises.
    """
    published = published or read_published()
    scores = score(run, protocol, missing=missing, draws=0)
    dataset, split, partly = _origin(run)
    frames = _frames(run)
    partly = partly or _partly(run, scores)
    mine = [figure for figure in published.figures if figure["set"] == dataset]
    reasons = [_why_not(figure, published.sets[dataset], scores, split, frames) or partly for figure in mine]
    return Beside(
        scores,
        dataset,
        split,
        frames,
        tuple(figure for figure, why in zip(mine, reasons, strict=True) if not why),
        tuple((figure, why) for figure, why in zip(mine, reasons, strict=True) if why),
        len(published.figures) - len(mine),
    )


def _why_not(figure: FigureFields, entry: SetFields, scores: Scores, split: str, frames: int | None) -> str:
    """Why a figure is not comparable, as a clause; "" when it is."""
    if "never" in entry:
        return entry["never"]
    for what, run, only in (
        ("protocol", scores.protocol, entry.get("protocol", NOT_STATED)),
        ("split", split, entry.get("split", NOT_STATED)),
    ):
        its = only if figure[what] == NOT_STATED else figure[what]
        if its == NOT_STATED:
            return f"its {what} is not stated"
        if its != run:
            return f"its {what} is {its}, the run's {run or NOT_STATED}"
    its = figure["frames"]
    if isinstance(its, int) and its != frames:
        return f"it saw {its} frames, the run {NOT_STATED if frames is None else frames}"
    if figure["group"] not in _run_scores(scores):
        return f"the run has no figure for {figure['group']}"
    return ""


def _partly(run: Results, scores: Scores) -> str:
    """Why a run is not on the whole set, or not scored on all of it; "" when it is."""
    length = run.header.get("dataset_length", run.samples)
    if len(run) < length:
        return f"the run is of {len(run)} of {length} queries"
    if scores.skipped:
        return f"the run's score leaves out {scores.skipped} queries"
    return ""


def _origin(run: Results) -> tuple[str, str, str]:
    """(dataset, split, why it is only a part of it) from the header; "" for what is not stated."""
    spec = run.header.get("dataset")
    if isinstance(spec, str) and spec:
        name, options = parse_spec(spec)
    elif isinstance(spec, Mapping) and isinstance(spec.get("name"), str):
        name, options = spec["name"], spec
    else:
        return "", "", ""
    known = options_of(registry("dataset").get(name)) if name in registry("dataset") else {}
    default = known["split"].default if "split" in known else ""
    return name, str(options.get("split", default)), "the run leaves out queries" if options.get("exclude") else ""


def _frames(run: Results) -> int | None:
    spec = run.header.get("spec")
    frames = spec.get("num_frames") if isinstance(spec, Mapping) else None
    return frames if isinstance(frames, int) else None


def _run_scores(scores: Scores) -> dict[str, Mapping[str, float]]:
    """The run's scores by group, in percent."""
    groups = {"overall": scores.overall, **scores.groups}
    return {group: {name: 100 * value for name, value in values.items()} for group, values in groups.items()}


def _head(figure: FigureFields) -> str:
    return f"{figure['model']} ({figure['size']}, {figure['kind']}), {figure['group']}"


def _in_percent(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.1f}" for name, value in values.items())
