"""Two runs compared query by query: paired differences, intervals and p-values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from revseg.errors import InputError
from revseg.evaluation.results import Results
from revseg.evaluation.scores.bootstrap import resampled, why_none
from revseg.evaluation.scores.pairs import Missing
from revseg.evaluation.scores.permutation import sign_flips
from revseg.evaluation.scores.protocols import protocol_of, score
from revseg.evaluation.scores.table import QueryScore, Scores
from revseg.text_table import text_table


@dataclass(frozen=True)
class Difference:
    """B minus A of one figure: the overall difference, its 95 % interval, and the queries better, equal and worse.

    `p` is two-sided, of a permutation test over whole videos (`permutation`): the probability of a difference at least
    as large if, for each video, it were chance which run did better. It is about other videos, not other trainings.
    With too few videos `low`, `high` and `p` are None, and `why` says so.
    """

    a: float
    b: float
    low: float | None
    high: float | None
    p: float | None
    better: int
    equal: int
    worse: int
    why: str = ""

    @property
    def difference(self) -> float:
        return self.b - self.a

    def text(self, digits: int = 2) -> str:
        """The difference and its interval, in percent: "+1.20 [-0.35, +2.71]"."""
        there = self.low is not None and self.high is not None
        ends = [] if self.low is None or self.high is None else [self.low, self.high]
        numbers = [f"{100 * value:+.{digits}f}" for value in (self.difference, *ends)]
        return f"{numbers[0]} [{', '.join(numbers[1:])}]" if there else numbers[0]

    def p_text(self) -> str:
        """The p-value: "<0.001" instead of "0.000", and "" for None."""
        return "" if self.p is None else "<0.001" if self.p < 0.001 else f"{self.p:.3f}"


@dataclass(frozen=True)
class Comparison:
    """The result of `compare`. `changes` has the change of each query in J&F (or the first figure), worst first."""

    protocol: str
    a: Scores
    b: Scores
    differences: Mapping[str, Difference]
    changes: tuple[tuple[QueryScore, float], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "protocol": self.protocol,
            "queries": len(self.changes),
            "differences": {n: {"difference": d.difference, **vars(d)} for n, d in self.differences.items()},
            "changes": [{"video": q.video, "query": q.query, "change": change} for q, change in self.changes],
        }

    def text(self) -> str:
        """For a terminal, in percent."""
        rows = [("", "A", "B", "B - A", "p", "better", "equal", "worse")]
        for name, d in self.differences.items():
            counts = (str(d.better), str(d.equal), str(d.worse))
            rows.append((name, f"{100 * d.a:.2f}", f"{100 * d.b:.2f}", d.text(), d.p_text(), *counts))
        about = (
            f"{self.protocol}, {len(self.changes)} paired queries; B - A with its 95% interval over videos; p of a "
            "permutation test over videos"
        )
        return "\n".join([about, "", text_table(rows, left=(0, 3)), *no_interval(self.differences)])


def no_interval(differences: Mapping[str, Difference]) -> list[str]:
    """One line for each reason why figures have neither interval nor p."""
    reasons = dict.fromkeys(d.why for d in differences.values() if d.why)
    names = {why: [name for name, d in differences.items() if d.why == why] for why in reasons}
    return [f"no interval and no p for {', '.join(names[why])}: {why}" for why in reasons]


def compare(
    a: Results, b: Results, protocol: str | None = None, *, missing: Missing = "zero", draws: int = 2000, **options: Any
) -> Comparison:
    """Compare two runs on the same queries. InputError when their queries or the protocols of their datasets differ."""
    if protocol is None and protocol_of(a) != protocol_of(b):
        raise InputError(
            f"the runs are of {protocol_of(a)} and {protocol_of(b)}: name the protocol, or compare like runs"
        )
    name = protocol or protocol_of(a)
    one, other = (score(run, name, missing=missing, draws=0, **options) for run in (a, b))
    left, right = ({(q.video, q.query, q.group): q for q in side.queries} for side in (one, other))
    if set(left) != set(right):
        odd = sorted(set(left) ^ set(right))[0]
        raise InputError(f"the runs are of different queries: {odd[1]!r} of video {odd[0]!r} is in one of them only")
    figures = [n for n in one.overall if n in other.overall and any(n in q.values for q in one.queries)]
    pairs = [(left[key], right[key]) for key in left]
    differences = {n: _difference(n, one, other, pairs, draws) for n in figures}
    main = "J&F" if "J&F" in figures else next((n for n in ("IoU", *figures)), "")
    changes = [(q, r.values[main] - q.values[main]) for q, r in pairs if main in q.values and main in r.values]
    return Comparison(name, one, other, differences, tuple(sorted(changes, key=lambda change: change[1])))


def _difference(
    name: str, one: Scores, other: Scores, pairs: list[tuple[QueryScore, QueryScore]], draws: int
) -> Difference:
    both = [(q, r) for q, r in pairs if name in q.values and name in r.values]
    change = {q.index: r.values[name] - q.values[name] for q, r in both}
    kept = [q for q, _ in both if q.stratum is not None]
    low, high = ends(resampled(kept, change, draws, seed=0))
    p, why = sign_flips(kept, change), why_none(len({query.video for query in kept}))
    values = np.array(list(change.values()))
    counts = (int((values > 1e-9).sum()), int((np.abs(values) <= 1e-9).sum()), int((values < -1e-9).sum()))
    return Difference(one.overall[name], other.overall[name], low, high, p, *counts, why)


def ends(drawn: np.ndarray) -> tuple[float, float] | tuple[None, None]:
    """The middle 95 % of bootstrap draws; (None, None) without any."""
    if not len(drawn):
        return None, None
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)
