"""Parser `verdict`: a reply that judges an earlier answer: "yes", "no" with a reason, or "absent"."""

import re
from typing import Any

from revseg.grounding.lenient_json import read_runs
from revseg.grounding.tags import answer_of
from revseg.registry import register
from revseg.types import Answer, Clip

WORDS = {"yes": True, "correct": True, "right": True, "true": True, "no": False, "wrong": False, "false": False}
ABSENT = ("absent", "none", "not there", "not in the video")


@register("parser", "verdict")
def verdict(text: str, shown: Clip) -> Answer:
    """`{"verdict": "yes"}`, `{"verdict": "no", "reason": "..."}` or `{"verdict": "absent"}`, or a bare word.

    Two rules: a JSON dict; one of these words. "absent" gives an answer without targets; `detail` is the reason.
    """
    body = answer_of(text)
    dicts = [value for run in read_runs(body) for value in run.values if isinstance(value, dict)]
    fields: dict[str, Any] = {str(key).strip().lower(): value for key, value in (dicts[-1] if dicts else {}).items()}
    value = fields.get("verdict", fields.get("answer", "")) if dicts else body
    word = ("yes" if value else "no") if isinstance(value, bool) else str(value).strip().strip(".!\"'").lower()
    form = 1.0 if dicts else 0.5
    if any(re.match(rf"{re.escape(name)}\b", word) for name in ABSENT):
        return Answer(form=form)
    first = re.match(r"[a-z]+", word)
    if first is None or first[0] not in WORDS:
        return Answer(
            error="no_verdict", form=form - 0.5, detail=f"expected yes, no or absent, got {body.strip()[:60]!r}"
        )
    reason = fields.get("reason", "") if dicts else word[first.end() :].strip(" ,.:;-")
    return Answer(form=form, verdict=WORDS[first[0]], detail=reason if isinstance(reason, str) else "")
