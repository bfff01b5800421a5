"""Which warnings fail a run: ours always, other packages' only with `--strict-warnings`."""

import warnings

import numpy as np
import pytest

from revseg.errors import RevsegWarning


def raised(category: type[Warning], module: str, message: str = "made up") -> bool:
    """Whether such a warning is an error under the filters of this run; it is not shown."""
    with warnings.catch_warnings(record=True):  # leaves the filters as they are
        try:
            warnings.warn_explicit(message, category, f"{module}.py", 1, module)
        except category:
            return True
    return False


@pytest.mark.parametrize("module", ["revseg.video.file", "test_video", "somebodys_notebook", "importlib._bootstrap"])
def test_a_warning_of_ours_is_an_error_wherever_it_points(module: str) -> None:
    assert raised(RevsegWarning, module)


@pytest.mark.parametrize("module", ["revseg.masks.metrics", "revseg", "benchmarks.speed.rollouts", "test_warnings"])
def test_a_number_gone_wrong_on_our_line_is_an_error(module: str) -> None:
    assert raised(RuntimeWarning, module)


def test_numpy_points_at_our_line() -> None:
    with pytest.raises(RuntimeWarning, match="divide"):
        np.divide(np.ones(1), np.zeros(1))


MODULES = ("torch.nn.modules.module", "revseg.policies.hf.session", "test_qwen", "revsegments")


@pytest.mark.parametrize("category", [FutureWarning, DeprecationWarning, UserWarning])
@pytest.mark.parametrize(
    "module", ["torch.nn.modules.module", "revseg.policies.hf.session", "test_qwen", "revsegments"]
)
def test_other_packages_fail_nothing_but_a_strict_run(
    category: type[Warning], module: str, request: pytest.FixtureRequest
) -> None:
    assert raised(category, module) == request.config.getoption("strict_warnings")


def test_known_ones_pass_a_strict_run_too() -> None:
    known = "`is_gradient_checkpointing` is deprecated and will be removed"
    assert not raised(FutureWarning, "transformers.modeling_utils", known)
