"""Runs a check on generated examples: the same ones each time, reporting one failure, shrunk."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st

from revseg.errors import PartError


def for_all(strategy: st.SearchStrategy[Any], prove: Callable[[Any], None], examples: int) -> None:
    """Calls `prove` with `examples` draws; raises the error of the smallest draw that fails."""
    run = hypothesis.given(strategy)(lambda case: prove(case))
    settings = hypothesis.settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink),  # no explain phase: it reruns a failure dozens of times
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    settings(run)()


@contextmanager
def broken_contracts() -> Iterator[None]:
    """Turns a PartError, by which the library reports a broken contract, into an AssertionError."""
    try:
        yield
    except PartError as error:
        raise AssertionError(str(error)) from error


def expect(condition: bool, message: str) -> None:
    """An assertion that `python -O` does not remove."""
    if not condition:
        raise AssertionError(message)
