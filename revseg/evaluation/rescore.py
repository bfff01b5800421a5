"""Judge saved conversations again without a model: with other rewards, or other parsers of the same replies."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from revseg import output
from revseg.errors import InputError
from revseg.evaluation.results import Results
from revseg.evaluation.row import Row, to_line
from revseg.evaluation.rows import judgeable
from revseg.pipeline import EQ8
from revseg.registry import build, spec_of
from revseg.rewards import Rewards
from revseg.rollout.converse import read
from revseg.serialise import conversation_of, rewards_of
from revseg.text_table import text_table
from revseg.types import MAX_NEW_TOKENS, Parser, RewardBreakdown, Rollout, Turn
from revseg.untrusted.trust import check_foreign_settings

BATCH = 64  # rows judged at a time: rewards that are marked `batched` see them together


@dataclass(frozen=True)
class Rescored:
    """The result of `rescore`. `now` and `before` map each reward and "total" to its mean and number of rows."""

    rows: int
    crashed: int  # rows without a conversation to judge, which are unchanged
    unjudged: int  # conversations without a truth on each frame shown
    changed: int  # rows with new groundings, whose masks are left out
    now: Mapping[str, tuple[float, int]]
    before: Mapping[str, tuple[float, int]]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        counts = {name: getattr(self, name) for name in ("rows", "crashed", "unjudged", "changed")}
        both = {"rewards": self.now, "before": self.before}
        means = {
            key: {n: {"mean": mean, "rows": rows} for n, (mean, rows) in found.items()} for key, found in both.items()
        }
        return {**counts, **means}

    def text(self) -> str:
        """For a terminal: a line per reward with its mean now and before, each with the number of rows."""
        names = [*(n for n in self.now if n != "total"), *(n for n in self.before if n not in self.now), "total"]
        rows = [("", "now", "rows", "before", "rows")]
        rows += [(name, *_cells(self.now.get(name)), *_cells(self.before.get(name))) for name in names]
        lines = [text_table(rows)]
        counts = [f"{self.rows} rows", f"{self.crashed} crashed", f"{self.unjudged} without truth on each frame shown"]
        lines.append(", ".join(counts))
        if self.changed:
            lines.append(f"{self.changed} with other groundings than before: evaluate again for their masks")
        return "\n".join(lines)


def rescore(
    results: Results | str | Path,
    rewards: str | Mapping[Any, float] | None = None,
    parsers: Mapping[str, Any] | None = None,
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    trust: bool = False,
) -> Rescored:
    """Judge the conversations of a results file again; with `out`, write them there as a results file.

    `rewards` maps specs to weights, or is a preset's name; by default it is that of the file, which may name code only
    with `trust`. `parsers` maps a round's name ("keyframe") or number ("1" is the first) to the spec or parser that
    reads its replies again. The rounds stay the same: a conversation that failed and now parses is "open" if more
    rounds had to follow. A row whose groundings change has no masks in `out`, because they belong to the old answer.
    Crashed rows are unchanged. Parsers and rewards see pictures of the right size whose pixels are all 0
    (`Row.rollout`).

    InputError for a damaged file and for a round that none of its conversations has, OutputError when `out` exists
    (unless `overwrite`), PartError for a part that breaks its contract.
    """
    found = results if isinstance(results, Results) else Results.open(results)
    judge = _Judge.build(found, rewards, parsers or {}, trust)
    if out is None:
        for _ in judge.rows(found):
            pass
        return judge.rescored()
    if Path(out).resolve() == found.path.resolve():
        raise InputError(f"{out} is the input file: choose another one to write")
    output.check_file(out, overwrite=overwrite)
    with output.fresh_file(out, overwrite=overwrite) as part, part.open("xb") as file:
        file.write(to_line(judge.header(found.header)))
        for row in judge.rows(found):
            file.write(to_line(row))
        return judge.rescored()


@dataclass(eq=False)
class _Judge:
    """The new rewards and parsers, and the sums so far."""

    rewards: Rewards
    parsers: Mapping[str, Parser]
    specs: Mapping[str, Any]  # of the parsers
    limit: int  # the most tokens of a reply
    met: set[str] = field(default_factory=set)  # names and numbers of rounds that occurred
    sums: dict[str, dict[str, list[float]]] = field(default_factory=lambda: {"now": {}, "before": {}})
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("rows", "crashed", "unjudged", "changed"), 0))

    @staticmethod
    def build(results: Results, rewards: Any, parsers: Mapping[str, Any], trust: bool) -> "_Judge":
        recorded = results.header.get("spec")
        spec = recorded if isinstance(recorded, Mapping) else {}
        if rewards is None:
            rewards = spec.get("rewards", EQ8)
            if not trust:
                check_foreign_settings({"rewards": rewards}, f"{results.path}: header", "pass trust=True (--trust)")
        built = {str(name): build("parser", parser) for name, parser in parsers.items()}
        specs = {str(name): spec_of(parser) for name, parser in parsers.items()}
        sampling = spec.get("sampling")
        limit = sampling.get("max_new_tokens") if isinstance(sampling, Mapping) else None
        return _Judge(Rewards.build(rewards), built, specs, limit if type(limit) is int else MAX_NEW_TOKENS)

    def header(self, header: Mapping[str, Any]) -> dict[str, Any]:
        """The file's header, with the rewards and parsers that the rows were judged with."""
        weights = dict(self.rewards.weights)
        spec = header.get("spec")
        changed = {"spec": {**spec, "rewards": weights}} if isinstance(spec, Mapping) else {}
        return {**header, **changed, "rescored": {"rewards": weights, "parsers": dict(self.specs)}}

    def rows(self, rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
        """The new rows, in order."""
        left = iter(rows)
        while batch := list(islice(left, BATCH)):
            rollouts = [self._read(row) for row in batch]
            judged = self._judged(batch, rollouts)
            for i, (row, rollout) in enumerate(zip(batch, rollouts, strict=True)):
                yield dict(row.data) if rollout is None else self._changed(row, rollout, judged.get(i))

    def rescored(self) -> Rescored:
        """The means. InputError when a parser was given for a round that no row has."""
        for name in self.parsers:
            if name not in self.met:
                rounds = ", ".join(sorted(self.met)) or "none"
                raise InputError(f"no conversation has the round {name!r:.80}; expected one of: {rounds:.300}")
        now, before = ({n: (sum(v) / len(v), len(v)) for n, v in self.sums[key].items()} for key in ("now", "before"))
        return Rescored(**self.counts, now=now, before=before)

    def _read(self, row: Row) -> Rollout | None:
        """The row's conversation with its replies parsed again; None when there is none."""
        self.counts["rows"] += 1
        rollout = None if row.crashed else row.rollout
        if rollout is None:
            self.counts["crashed"] += 1
            return None
        self._add("before", row.data.get("rewards"))
        return replace(rollout, turns=tuple(self._turn(turn, n) for n, turn in enumerate(rollout.turns, 1)))

    def _turn(self, turn: Turn, number: int) -> Turn:
        names = [turn.round, str(number)]
        self.met.update(name for name in names if name)
        parser = next((self.parsers[name] for name in names if name in self.parsers), None)
        return turn if parser is None else replace(turn, answer=read(parser, turn.reply, turn.shown, self.limit))

    def _judged(self, rows: list[Row], rollouts: list[Rollout | None]) -> dict[int, RewardBreakdown]:
        """Rewards by position in the batch, of those with a truth on each frame shown."""
        pairs = {i: (r, rows[i].truth) for i, r in enumerate(rollouts) if r is not None}
        cases = {i: (r, truth) for i, (r, truth) in pairs.items() if judgeable(truth, r)}
        self.counts["unjudged"] += len(pairs) - len(cases)
        found = self.rewards([r for r, _ in cases.values()], [truth for _, truth in cases.values()])
        return dict(zip(cases, found, strict=True))

    def _changed(self, row: Row, rollout: Rollout, judged: RewardBreakdown | None) -> dict[str, Any]:
        rewards = None if judged is None else rewards_of(judged)
        self._add("now", rewards)
        data = {**row.data, "rewards": rewards}
        if not self.parsers:
            return data
        assert row.rollout is not None
        data |= {**conversation_of(rollout), "failure": rollout.error, "detail": rollout.detail}
        if conversation_of(row.rollout)["groundings"] != data["groundings"]:
            self.counts["changed"] += 1
            data |= {"masks": None, "objects": None, "visible_frames": None}
        return data

    def _add(self, when: str, rewards: Mapping[str, Any] | None) -> None:
        for name, value in {} if rewards is None else {**rewards["values"], "total": rewards["total"]}.items():
            self.sums[when].setdefault(name, []).append(float(value))


def _cells(mean: tuple[float, int] | None) -> tuple[str, str]:
    return ("-", "-") if mean is None else (f"{mean[0]:.3f}", str(mean[1]))
