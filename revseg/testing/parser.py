"""The contract of a parser."""

import re
from typing import Any

import numpy as np
from hypothesis import strategies as st

from revseg import checked
from revseg.registry import build
from revseg.testing.running import broken_contracts, expect, for_all
from revseg.testing.strategies import clips
from revseg.testing.texts import replies
from revseg.types import Answer, Clip, Parser, Target

_THOUGHTS = ["", "[]", "<answer>[]</answer>", '[{"frame_idx": 0, "object description": "x", "bbox_2d": [0, 0, 1, 1]}]']
_THOUGHTS += ['<answer>[{"frame_idx": 0, "object description": "x"}]</answer>', "<think>", "{", '"', "it's ```json ["]


def check_parser(parser: Any, *, thinking: bool = True, examples: int = 300) -> None:
    """Checks that any text gives a valid Answer, with an error or targets but not both, and never an exception.

    With `thinking`, also that text inside `<think></think>` has no effect. Texts are good replies, near misses and
    noise.
    """
    built: Parser = build("parser", parser)

    def check(case: tuple[Clip, str]) -> None:
        shown, text = case
        try:
            answer = built(text, shown)
        except Exception as error:
            raise AssertionError(f"{parser!r} raised {error!r} for {text[:200]!r}; expected an Answer") from error
        what = f"{parser!r} returned {answer!r} for {text[:200]!r}"
        with broken_contracts():
            checked.answer(built, answer, shown)
        expect(answer.error is None or not answer.targets, f"{what}; expected an error or targets, not both")
        plain = answer.error is None or re.fullmatch(r"[a-z][a-z0-9_]*", answer.error)
        expect(bool(plain), f"{what}; expected an error of one lower-case word")
        expect(same_answer(answer, built(text, shown)), f"{what}, then something else")

    def check_thinking(case: tuple[tuple[Clip, str], str]) -> None:
        (shown, text), thought = case
        plain, thoughtful = (built(f"<think>{t}</think>{text}", shown) for t in ("", thought))
        what = f"{parser!r}: thinking {thought!r} before {text[:200]!r} changed the answer"
        expect(same_answer(plain, thoughtful), f"{what} from {plain!r} to {thoughtful!r}")

    cases = clips().flatmap(lambda clip: st.tuples(st.just(clip), replies(clip)))
    for_all(cases, check, examples)
    if thinking:
        for_all(st.tuples(cases, st.sampled_from(_THOUGHTS)), check_thinking, examples)


def same_answer(one: Answer, other: Answer) -> bool:
    """Whether two answers are equal in everything but `detail`."""
    alike = (one.error, one.form, len(one.targets)) == (other.error, other.form, len(other.targets))
    return alike and all(same_target(a, b) for a, b in zip(one.targets, other.targets, strict=True))


def same_target(one: Target, other: Target) -> bool:
    """Whether two targets are equal in all fields."""
    return (
        (one.frame_id, one.description, one.object_id) == (other.frame_id, other.description, other.object_id)
        and np.array_equal(one.boxes, other.boxes)
        and np.array_equal(one.points, other.points)
        and np.array_equal(one.point_labels, other.point_labels)
    )
