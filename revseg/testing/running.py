"""How the checks run a property: the same examples each time, one failure reported, small."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st

from revseg.errors import PartError


def for_all(strategy: st.SearchStrategy[Any], prove: Callable[[Any], None], examples: int) -> None:
    """Calls `prove` with that many draws; the smallest one that raises is raised again."""
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
def kept() -> Iterator[None]:
    """A part's broken contract, as the library finds it, as an assertion."""
    try:
        yield
    except PartError as error:
        raise AssertionError(str(error)) from error


def expect(true: bool, message: str) -> None:
    """An assertion that survives `python -O` and says what was expected and what came."""
    if not true:
        raise AssertionError(message)
