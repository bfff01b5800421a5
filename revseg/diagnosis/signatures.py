"""The failure signatures of an evaluation: for each a figure over all rows, a threshold, and the rows to look at."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from revseg.diagnosis.error_attribution import GOOD, LOST, LOST_FRAMES, ON_TARGET, TINY, Stages
from revseg.failures import Example, Kind, Signature

FORMAT_LOW, FORMAT_HIGH, TASK_LOW = 0.9, 0.95, 0.3
KEYFRAMES, BOXES, TRACKER, ABSENCE, CUT_OFF = 0.2, 0.3, 0.1, 0.1, 0.05
BETTER = 0.2  # gain in IoU from which another reading of the numbers is worth naming
EXAMPLES = 5


def find_signatures(rows: Sequence[Stages]) -> list[Signature]:
    """All signatures, found or not, in the order in which a conversation can fail."""
    return [
        _crashes(rows),
        _format(rows),
        _cut_off(rows),
        _absence(rows),
        _keyframes(rows),
        _boxes(rows),
        _task(rows),
        _tracker(rows),
    ]


def _made(
    kind: Kind,
    found: bool | None,
    rule: str,
    evidence: dict[str, Any],
    advice: str,
    bad: Sequence[Stages],
    why: Callable[[Stages], str],
) -> Signature:
    kept = [
        Example(row.index, f"{row.video} · {row.query}: {row.text}"[:200], why(row)) for row in list(bad)[:EXAMPLES]
    ]
    return Signature(kind, found, rule, evidence, advice, tuple(row.index for row in bad), tuple(kept))


def _crashes(rows: Sequence[Stages]) -> Signature:
    bad = [row for row in rows if (row.failure or "").startswith("crash:")]
    kinds = dict(Counter(str(row.failure) for row in bad).most_common())
    return _made(
        "crashes",
        bool(bad),
        "any row whose sample broke our code or a part",
        {"rows": len(rows), "crashed": len(bad), **kinds},
        'read "detail" of the rows, mend the cause, and run `revseg evaluate --retry`',
        bad,
        lambda row: str(row.failure),
    )


def _format(rows: Sequence[Stages]) -> Signature:
    answered = [row for row in rows if not (row.failure or "").startswith("crash:")]
    bad = sorted((row for row in answered if row.form < 1), key=lambda row: row.form)
    mean = _mean([row.form for row in answered])
    kinds = dict(Counter(row.failure for row in bad if row.failure).most_common())
    unread = sum(row.failure is not None for row in bad)
    return _made(
        "format low",
        None if mean is None else mean < FORMAT_LOW,
        f"mean share of format rules met below {FORMAT_LOW}",
        {"replies": len(answered), "mean format": mean, "not readable": unread, **kinds},
        "read these replies; the prompt and the parser may disagree, or replies are cut off (see the next one)",
        bad,
        lambda row: f"format {row.form:.2f}" + (f", {row.failure}" if row.failure else ""),
    )


def _cut_off(rows: Sequence[Stages]) -> Signature:
    answered = [row for row in rows if not (row.failure or "").startswith("crash:")]
    bad = [row for row in answered if row.cut_off]
    share = _share(len(bad), len(answered))
    unread = sum(row.failure is not None for row in bad)
    return _made(
        "replies cut off",
        None if share is None else share > CUT_OFF,
        f"more than {CUT_OFF:.0%} of rows hold a reply that ended at the token limit",
        {"rows": len(answered), "cut off": len(bad), "share": share, "not readable": unread},
        "raise --max-new-tokens; a reply that goes round in circles stays cut off at any limit",
        sorted(bad, key=lambda row: row.failure is None),
        lambda row: f"cut off, {row.failure or 'and read all the same'}",
    )


def _absence(rows: Sequence[Stages]) -> Signature:
    judged = [row for row in rows if row.failure is None and row.shown is not None]
    denied = [row for row in judged if row.shown and row.absent]
    invented = [row for row in judged if not row.shown and not row.absent]
    there = sum(bool(row.shown) for row in judged)
    shares = [_share(len(denied), there), _share(len(invented), len(judged) - there)]
    return _made(
        "absence misjudged",
        any(share is not None and share > ABSENCE for share in shares) if judged else None,
        f'more than {ABSENCE:.0%} of visible targets called absent, or of absent ones "found"',
        {
            "targets on the frames shown": there,
            "called absent": len(denied),
            "targets on none of them": len(judged) - there,
            "said to be found": len(invented),
        },
        "mix queries without a target into training, or fewer of them; see whether the frames shown miss the target",
        denied + invented,
        lambda row: "says absent, is visible" if row.absent else "says found, is on no frame shown",
    )


def _keyframes(rows: Sequence[Stages]) -> Signature:
    judged = [row for row in rows if row.keyframe is not None]
    bad = sorted((row for row in judged if _of(row.keyframe) < TINY), key=lambda row: (_of(row.keyframe), row.j or 0))
    hidden = sum(row.keyframe == 0 for row in bad)
    share = _share(len(bad), len(judged))
    chance = _mean([row.by_chance for row in judged if row.by_chance is not None])
    return _made(
        "keyframes hidden or tiny",
        None if share is None else share > KEYFRAMES,
        f"more than {KEYFRAMES:.0%} of keyframes hide the target, or show its box at less than {TINY:.0%} of the "
        "largest on the frames shown",
        {"keyframes": len(judged), "hidden": hidden, "tiny": len(bad) - hidden, "share": share, "by chance": chance},
        'not better than "by chance": the policy does not choose; look at the thinking, and give the temporal '
        "reward more weight",
        bad,
        lambda row: "hidden" if row.keyframe == 0 else f"box at {row.keyframe:.0%} of its largest",
    )


def _boxes(rows: Sequence[Stages]) -> Signature:
    judged = [row for row in rows if row.box is not None]
    bad = sorted((row for row in judged if _of(row.box) <= ON_TARGET), key=lambda row: _of(row.box))
    share, mean = _share(len(bad), len(judged)), _mean([_of(row.box) for row in judged])
    evidence = {"boxes": len(judged), "off target": len(bad), "share": share, "mean IoU": mean}
    evidence["no overlap"] = sum(row.box == 0 for row in bad)
    advice = "compare the description with the picture: a wrong thing described, or the right thing boxed badly"
    for name in judged[0].readings if judged else ():
        other = _mean([row.readings[name] for row in judged])
        if other is not None and mean is not None and other > mean + BETTER:
            evidence[f"mean IoU as {name}"] = other
            advice = f"the numbers fit better read as {name}: see the parser's coords= and the prompt's example"
    return _made(
        "boxes off target",
        None if share is None else share > BOXES,
        f"more than {BOXES:.0%} of boxes on keyframes that show the target have an IoU of {ON_TARGET} or less",
        evidence,
        advice,
        bad,
        lambda row: f"IoU {row.box:.2f}",
    )


def _task(rows: Sequence[Stages]) -> Signature:
    judged = [row for row in rows if row.rewards is not None]
    names = dict.fromkeys(name for row in judged for name in row.rewards or ())
    means = {
        name: _mean([(row.rewards or {})[name] for row in judged if name in (row.rewards or {})]) for name in names
    }
    task = [name for name in names if name.split(":")[0] != "format"]
    form = _mean([row.form for row in judged])
    low = [name for name in task if _of(means[name]) < TASK_LOW]
    total = {row.index: sum((row.rewards or {}).get(name, 0.0) for name in low) for row in judged}
    worst = sorted(
        (r for r in judged if low and r.form == 1 and total[r.index] < TASK_LOW), key=lambda r: total[r.index]
    )
    return _made(
        "format high, task reward low",
        None if form is None or not task else form > FORMAT_HIGH and bool(low),
        f"mean format above {FORMAT_HIGH} while a task reward's mean is below {TASK_LOW}",
        {"rows": len(judged), "mean format": form, **{f"mean {name}": means[name] for name in task}},
        "replies are well formed and wrong: the format was learnt, the task was not; give the task rewards more weight",
        worst,
        lambda row: ", ".join(f"{name} {(row.rewards or {}).get(name, 0):.2f}" for name in low),
    )


def _tracker(rows: Sequence[Stages]) -> Signature:
    judged = [row for row in rows if row.lost is not None and _of(row.box) > ON_TARGET]
    bad = sorted((row for row in judged if _of(row.lost) > LOST_FRAMES), key=lambda row: -_of(row.lost))
    share = _share(len(bad), len(judged))
    return _made(
        "tracker loses the object",
        None if share is None else share > TRACKER,
        f"more than {TRACKER:.0%} of rows whose box is right (IoU above {ON_TARGET}) miss the target (J below {LOST}) "
        f"on more than {LOST_FRAMES:.0%} of its frames",
        {
            "boxes right": len(judged),
            "lost": len(bad),
            "share": share,
            "mean J of these": _mean([row.j for row in judged if row.j is not None]),
            "lost frames with an empty mask": _mean([row.gone for row in bad if row.gone is not None]),
        },
        "look at the frames where it is lost: hidden for a while, fast, or like its neighbours; try another tracker, "
        f"such as sam2 (a mean J of {GOOD} or more is called fine)",
        bad,
        lambda row: f"missed on {row.lost:.0%} of its frames, J {row.j:.2f}",
    )


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _of(value: float | None) -> float:
    return 0.0 if value is None else value
