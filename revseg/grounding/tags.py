"""The parts of a reply: thinking, answers in their tags, and which of them is the answer."""

import re
from typing import Any, NamedTuple

from revseg.grounding.lenient_json import Run, read_runs

_THINK, _END_THINK = re.compile(r"<\s*think\s*>", re.IGNORECASE), re.compile(r"<\s*/\s*think\s*>", re.IGNORECASE)
_ANSWER, _END_ANSWER = re.compile(r"<\s*answer\s*>", re.IGNORECASE), re.compile(r"<\s*/\s*answer\s*>", re.IGNORECASE)
MAX_ANSWERS = 8  # only the last so many are read


class Parts(NamedTuple):
    """A reply split at its tags."""

    think_tags: bool  # <think>...</think> comes first
    answer_tags: bool  # one <answer>...</answer> follows it, and nothing else
    bodies: list[str]  # the last answers, in order; where there is no <answer>, all that follows the thinking
    tagged: bool  # the bodies come from <answer> tags


def split_reply(text: str) -> Parts:
    """Tags are found in upper and lower case, but count as in place in lower case only.

    Where the thinking is not closed, it ends at `<answer>`.
    """
    ends = list(_END_THINK.finditer(text))
    rest = text[ends[-1].end() :] if ends else text
    think_tags = "</think>" in text and text.lstrip().startswith("<think>")
    if not ends and (opened := list(_THINK.finditer(text))):
        start = _ANSWER.search(text, opened[-1].end())
        rest = text[start.start() :] if start else ""
    plain = rest.strip()
    starts = [found.end() for found in _ANSWER.finditer(rest)]
    answer_tags = plain.startswith("<answer>") and plain.endswith("</answer>") and len(starts) == 1
    bodies = [_END_ANSWER.split(rest[start:], maxsplit=1)[0] for start in starts[-MAX_ANSWERS:]]
    return Parts(think_tags, answer_tags, bodies or [_END_ANSWER.split(rest, maxsplit=1)[0]], bool(starts))


def last_readable(bodies: list[str], tagged: bool) -> str:
    """The last body that can be read as an answer; the last one when none can."""
    for body in reversed(bodies):
        run = answer_run(body)
        if (run is not None and any(map(_can_answer, run.values))) or (tagged and says_absent(body)):
            return body
    return bodies[-1]


def answer_of(text: str) -> str:
    """The text of the last readable `<answer>` after the thinking, else everything after the thinking."""
    parts = split_reply(text)
    return last_readable(parts.bodies, parts.tagged)


_ABSENT = re.compile(
    r"\b(?:not|never|no longer)\s(?:\w+\s){0,2}(?:in|present|visible|shown|appear|found|exist|there)\b"
    r"|\bno such\b|\A\W*(?:none|nothing|absent|null|no (?:target|object|match))\W*\Z",
    re.IGNORECASE,
)


def says_absent(body: str) -> bool:
    """True for a short sentence without digits that says that the target is not there."""
    return len(body) <= 100 and not re.search(r"\d", body) and bool(_ABSENT.search(body))


def answer_run(body: str) -> Run | None:
    """The last JSON in the text that can be an answer, which "[1]" or "{2}" in prose cannot; else the last."""
    runs = read_runs(body)
    able = (run for run in reversed(runs) if any(map(_can_answer, run.values)))
    return next(able, runs[-1] if runs else None)


def _can_answer(value: Any) -> bool:
    if isinstance(value, dict):
        return bool(value)
    return len(value) in (0, 4) or any(isinstance(v, dict | list) for v in value)
