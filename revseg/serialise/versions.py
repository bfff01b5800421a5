"""The versions that decide a result."""

import importlib.metadata
import platform

from revseg.version import __version__

PACKAGES = ("numpy", "torch", "transformers", "opencv-contrib-python-headless", "decord2", "av", "rf-sam-2")


def versions() -> dict[str, str]:
    """Those of revseg, Python and the packages above that are installed."""
    found = {"revseg": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
