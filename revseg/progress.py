"""Progress bars. The one of a video counts the frames read, so that trackers need not report anything."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from revseg.video import Video

if TYPE_CHECKING:
    import rich.progress

T = TypeVar("T")


@contextmanager
def reading(video: Video, label: str, *, show: bool = True) -> Iterator[Video]:
    """The same video, with a bar on stderr that counts its frames as they are read, until the block ends."""
    if not show:
        yield video
        return
    with _bar() as bar:
        task = bar.add_task(label, total=len(video))

        def read(indices: np.ndarray) -> np.ndarray:
            frames = video.reader(indices)
            bar.advance(task, len(indices))
            return frames

        yield replace(video, reader=read)


def tracked(items: Iterable[T], label: str, total: int, *, show: bool = True) -> Iterator[T]:
    """The items, with a bar on stderr."""
    if not show:
        yield from items
        return
    with _bar() as bar:
        yield from bar.track(items, total=total, description=label)


@contextmanager
def waiting(label: str, *, show: bool = True) -> Iterator[None]:
    """A spinner on stderr around work of unknown length."""
    if not show:
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(label):
        yield


def _bar() -> "rich.progress.Progress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
