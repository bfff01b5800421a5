"""The protocols by name, and `score`."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from revseg.errors import InputError, SpecError
from revseg.evaluation.results import Results, Row
from revseg.evaluation.scores import bootstrap
from revseg.evaluation.scores.expressions import expressions, groundmore, image_iou, long_rvos, reason_seg, ref_sav
from revseg.evaluation.scores.pairs import Missing
from revseg.evaluation.scores.ref_davis17 import ref_davis17
from revseg.evaluation.scores.revos import revos, robustness_of_run
from revseg.evaluation.scores.table import QueryScore, Scores, group_means, means, overall_means
from revseg.spec import parse_spec


@dataclass(frozen=True)
class Protocol:
    """How a benchmark scores: `measure(rows, missing, **options)` scores the queries, `about` says what is averaged."""

    about: str
    measure: Callable[..., list[QueryScore]]
    options: tuple[str, ...] = ()


_MEAN = "J and F at the truth's size on all its frames, mean over frames, then over expressions"
PROTOCOLS: Mapping[str, Protocol] = {
    "generic": Protocol(_MEAN, expressions),
    "ref_youtube_vos": Protocol(f"local, its server is gone: {_MEAN}", expressions),
    "mevis": Protocol(
        f"{_MEAN}; N-acc: share of expressions without target answered with empty masks, T-acc: of those with one not; "
        "Final: mean of J&F, N-acc and T-acc; (targets): J&F of the expressions with a target alone",
        expressions,
    ),
    "ref_davis17": Protocol(
        "protocol A (DAVIS unsupervised): objects compete, void ignored, Hungarian matching; mean over the "
        "first frame's objects, described or not, then over the four annotators; blind to which expression was meant",
        ref_davis17,
    ),
    "ref_davis17_strict": Protocol(
        "protocol A, but each expression is scored on its own object; mean over objects, then over annotators",
        partial(ref_davis17, identity=True),
    ),
    "ref_davis17_b": Protocol(f"protocol B (binary masks, no competition, no void): {_MEAN}", expressions),
    "revos": Protocol(
        "J, F, A at the truth's size on all frames, mean over frames, then over the expressions of a type; overall is "
        "the mean of referring and reasoning",
        revos,
        ("robustness", "accuracy", "rounding"),
    ),
    "reason_vos": Protocol(
        "J and F on the annotated frames only, mean over frames, then over expressions", expressions
    ),
    "long_rvos": Protocol(f"{_MEAN}; tIoU and vIoU likewise; by type and over all expressions", long_rvos),
    "groundmore": Protocol(
        "J and F on the frames of the samples (20 a clip officially; figures of all frames do not compare), mean over "
        "frames, then over questions; by type; (all empty): J&F of an answer without any mask",
        groundmore,
    ),
    "ref_sav": Protocol(f"{_MEAN} of a type; overall is the mean of long and short expressions", ref_sav),
    "fevos": Protocol(f"no official scorer is published: {_MEAN}", expressions),
    "ok_vos": Protocol(
        "J and F on the annotated frames only, mean over frames, then over questions; by ability (in-video has no line "
        "officially); the official script leaves missing predictions out, as missing=skip does",
        expressions,
    ),
    "reason_seg": Protocol(
        "without the pixels marked to be ignored; gIoU: mean over pictures of I / (U + 1e-5), 1 where U = 0; cIoU: sum "
        "of I over sum of U + 1e-10; also by length of the query",
        reason_seg,
    ),
    "image": Protocol("gIoU: mean of the pictures' IoU; cIoU: sum of intersections over sum of unions", image_iou),
}


def score(
    results: Results | str, protocol: str | None = None, *, missing: Missing = "zero", draws: int = 1000, **options: Any
) -> Scores:
    """Score a results file by a protocol of `PROTOCOLS`: by default the one of its dataset, else "generic".

    `missing` is what a query or frame without a prediction counts: "zero", "skip" (left out) or "error"; see `pairs`.
    `draws` is the number of bootstrap draws for the intervals; 0 computes none. Further options, for "revos":
    `robustness`, `accuracy` and `rounding`, see `scores.revos`.

    InputError for an unfinished file (unless "skip") and for rows that lack what the protocol needs, SpecError for an
    unknown protocol or option.
    """
    results = Results.open(results) if isinstance(results, str) or not isinstance(results, Results) else results
    name = protocol or protocol_of(results)
    if name not in PROTOCOLS:
        raise SpecError(f"unknown protocol {name!r}; known: {', '.join(PROTOCOLS)}")
    if missing not in ("zero", "skip", "error"):
        raise SpecError(f'expected missing "zero", "skip" or "error", got {missing!r}')
    unknown = sorted(set(options) - set(PROTOCOLS[name].options))
    if unknown:
        raise SpecError(f"protocol {name} has no option {unknown[0]!r}; it has {list(PROTOCOLS[name].options)}")
    if not results.finished and missing != "skip":
        raise InputError(
            f"{results.path} is not finished: {len(results)} of {results.samples} rows; run `revseg evaluate` again to "
            "continue it, or score what is there with missing='skip'"
        )
    return _scores(results, results, name, missing, draws, options)


def protocol_of(results: Results) -> str:
    """The protocol with the name of the results' dataset; "generic" when there is none."""
    dataset = results.header.get("dataset")
    name = dataset.get("name") if isinstance(dataset, Mapping) else dataset
    known = parse_spec(name)[0] if isinstance(name, str) and name else ""
    return known if known in PROTOCOLS else "generic"


def _scores(
    results: Results, rows: Iterable[Row], name: str, missing: Missing, draws: int, options: Mapping[str, Any]
) -> Scores:
    protocol = PROTOCOLS[name]
    blind = seen = 0

    def watched() -> Iterator[Row]:
        nonlocal blind, seen
        for row in rows:
            seen += row.data.get("truth") is not None
            blind += row.data.get("truth") is None and row.loaded
            yield row

    queries = protocol.measure(watched(), missing, **options)
    if blind and not seen:
        raise InputError(f"{results.path}: no truth for any query, so that nothing can be scored")
    overall, groups = overall_means(queries), group_means(queries)
    found = bootstrap.intervals(queries, draws=draws) if draws else {}
    if name in ("image", "reason_seg"):
        overall, groups = (
            _image(overall, queries, name),
            {g: _image(v, [q for q in queries if q.group == g], name) for g, v in groups.items()},
        )
        found = {"gIoU": found["IoU"]} if "IoU" in found else {}
    for figures in (overall, found, *groups.values()):
        figures.pop("false_area", None)
        figures.pop("true_area", None)
    run = robustness_of_run(queries) if name == "revos" else None
    if run is not None:
        overall["R"] = run
    if name == "mevis":
        overall |= _final(queries, overall)
    notes = _notes(results, queries, blind, name, options)
    about = protocol.about + _how(name, options)
    none = bootstrap.too_few(queries) if draws else ""
    return Scores(name, about, missing, results.samples, tuple(queries), overall, groups, found, notes, none)


def _final(queries: Sequence[QueryScore], overall: Mapping[str, float]) -> dict[str, float]:
    """Final of MeViS 2, if there are expressions with and without a target.

    Whether its J&F is over all expressions is not stated (an empty answer to an empty truth has J = F = 1): where the
    two differ, both are given.
    """
    if not {"J&F", "N-acc", "T-acc"} <= set(overall):
        return {}
    rest = overall["N-acc"] + overall["T-acc"]
    targets = means(query for query in queries if "N-acc" not in query.values)["J&F"]
    found = {"Final": (overall["J&F"] + rest) / 3}
    if abs(targets - overall["J&F"]) > 1e-12:
        found |= {"J&F (targets)": targets, "Final (targets)": (targets + rest) / 3}
    return found


def _image(values: Mapping[str, float], queries: Sequence[QueryScore], name: str) -> dict[str, float]:
    if "IoU" not in values:
        return {}
    union = sum(query.values.get("union", 0.0) for query in queries)
    common = sum(query.values.get("intersection", 0.0) for query in queries)
    if name == "reason_seg":
        return {"gIoU": values["IoU"], "cIoU": common / (union + 1e-10)}  # as LISA's code has it
    return {"gIoU": values["IoU"], "cIoU": common / union if union else 1.0}


def _how(name: str, options: Mapping[str, Any]) -> str:
    if name != "revos":
        return ""
    rounded = "rounded to two decimals before averaging" if options.get("rounding", True) else "not rounded"
    robustness = options.get("robustness", "paper")
    return f"; {rounded}; R: {robustness}, A: {options.get('accuracy') or robustness}"


def _notes(
    results: Results, queries: Sequence[QueryScore], blind: int, name: str, options: Mapping[str, Any]
) -> tuple[str, ...]:
    notes = []
    if not results.finished:
        notes.append(f"unfinished: {len(results)} of {results.samples} rows, the figures are of those only")
    if blind:
        notes.append(f"queries without truth, in no figure: {blind}")
    crashed = sum((query.failure or "").startswith("crash:") for query in queries)
    if crashed:
        notes.append(f"{crashed} samples crashed; `revseg evaluate --retry` tries them again")
    lost = [query for query in queries if not query.query]
    if lost and name in ("revos", "ref_sav"):
        notes.append(f"{len(lost)} samples could not be loaded, so that their type is unknown: in no figure")
    if name == "revos":
        unread = sum(q.group == "no target" and q.missing and "false_area" not in q.values for q in queries)
        if unread and options.get("robustness", "paper") == "paper":
            notes.append(f"{unread} expressions without target could not be read: their area is unknown, and not in R")
        modes = {"R": options.get("robustness", "paper")}
        modes["A"] = options.get("accuracy") or modes["R"]
        odd = " and ".join(figure for figure in modes if modes[figure] != "paper")
        if odd:
            notes.append(f"{odd} as the official script has it, faults included; compare with such figures only")
    if name == "ref_davis17":
        unasked = sum(query.index < 0 for query in queries)
        if unasked:
            notes.append(f"{unasked} objects without an expression count too, as officially")
        notes.append("not comparable with protocol B (ref_davis17_b)")
    return tuple(notes)
