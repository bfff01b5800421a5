"""Which warnings are errors, Hypothesis profiles (`HYPOTHESIS_PROFILE=ci` digs deeper than the default `fast`) and
media made on the spot.
"""

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

# Before NumPy and torch are loaded: the tests' models are so small that threads only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("fast", max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))

_all_examples = True


def examples(count: int) -> int:
    """How many examples a slow property gets: `count`, or a third of them without `--slow`."""
    return count if _all_examples else -(-count // 3)


# A warning's module is where it is attributed, which says little of who raised it: a deprecation in transformers may
# point at our call, and ours at the user's. So ours are known by their category. A number gone wrong (0/0) is ours when
# it is on our line.
OURS = (
    "error::revseg.errors.RevsegWarning",
    r"error::RuntimeWarning:(revseg|benchmarks|tests)\b",
    r"error::RuntimeWarning:(test_|conftest$)",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow, too, as .ci/run does")
    parser.addoption("--strict-warnings", action="store_true", help="warnings of other packages are errors, too")


def pytest_configure(config: pytest.Config) -> None:
    global _all_examples
    _all_examples = config.getoption("slow")
    filters = config.getini("filterwarnings")
    if config.getoption("strict_warnings"):
        filters.insert(filters.index("default") + 1, "error")  # before those that are ignored by name
    for line in OURS:
        config.addinivalue_line("filterwarnings", line)


LEFT_OUT = pytest.StashKey[int]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves slow tests out, but for those whose names are on the command line, as in `pytest tests/test_a.py::test_b`.

    `-m` decides for itself.
    """
    if config.getoption("slow") or config.getoption("markexpr"):
        return
    named = [argument for argument in config.args if "::" in argument]
    slow = {item for item in items if item.get_closest_marker("slow") and not _is_named(item.nodeid, named)}
    if slow:
        config.hook.pytest_deselected(items=list(slow))
        items[:] = [item for item in items if item not in slow]
        config.stash[LEFT_OUT] = len(slow)


def _is_named(nodeid: str, named: list[str]) -> bool:
    """True when an argument is the test itself, or all its parametrisations; both say a file in some folder."""
    file, _, test = nodeid.partition("::")
    for argument in named:
        path, _, wanted = argument.partition("::")
        if Path(path).name == Path(file).name and wanted in (test, test.partition("[")[0]):
            return True
    return False


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if count := config.stash.get(LEFT_OUT, 0):
        terminalreporter.write_line(f"{count} slow tests left out; pytest --slow runs all")


BITS = 12


def numbered(index: int, height: int = 48, width: int = 64) -> np.ndarray:
    """uint8[h w 3]: a reddish frame that carries its number as black and white cells, which survive compression."""
    frame = np.full((height, width, 3), (200, 40, 90), np.uint8)
    for bit in range(BITS):
        y, x = divmod(bit, 6)
        frame[4 + 20 * y : 20 + 20 * y, 2 + 10 * x : 10 + 10 * x] = 255 * (index >> bit & 1)
    return frame


def number_of(frame: np.ndarray) -> int:
    """The inverse of `numbered`."""
    cells = [frame[8 + 20 * y : 16 + 20 * y, 4 + 10 * x : 8 + 10 * x] for y, x in (divmod(b, 6) for b in range(BITS))]
    return sum(1 << bit for bit, cell in enumerate(cells) if cell.mean() > 127)


@pytest.fixture(scope="session")
def make_video(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """make_video("name.mp4", n, codec=..., options=..., times=...) -> a video file whose frames carry their numbers."""
    import av

    folder = tmp_path_factory.mktemp("media")

    def make(
        name: str,
        n: int,
        *,
        codec: str = "libx264",
        size: tuple[int, int] = (48, 64),
        pix_fmt: str = "yuv420p",
        options: dict[str, str] | None = None,
        times: list[int] | None = None,
        container_options: dict[str, str] | None = None,
    ) -> Path:
        path = folder / name
        if path.exists():
            return path
        with av.open(str(path), "w", options=container_options or {}) as container:
            stream: Any = container.add_stream(codec, rate=30, options=options or {})
            stream.height, stream.width = size
            stream.pix_fmt = pix_fmt
            stream.codec_context.thread_count = 1
            if times is not None:
                stream.codec_context.time_base = Fraction(1, 1000)
            for i in range(n):
                frame = av.VideoFrame.from_ndarray(numbered(i, *size), format="rgb24")
                if times is not None:
                    frame.pts, frame.time_base = times[i], Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path

    return make
