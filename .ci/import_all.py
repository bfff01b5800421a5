"""Imports every module of the installed package, where nothing of the `dev` extra is installed."""

import importlib
import pkgutil
from importlib.resources import files

import revseg
from revseg.errors import MissingExtraError

ELSEWHERE = ("verl",)  # engines whose plug-ins are imported in an environment of their own

assert "site-packages" in str(revseg.__file__), f"meant for the wheel, not for {revseg.__file__}"
assert files("revseg").joinpath("py.typed").is_file(), "py.typed is missing"
count = 0
for module in pkgutil.walk_packages(revseg.__path__, "revseg.", onerror=lambda name: None):
    try:
        importlib.import_module(module.name)
    except MissingExtraError as error:
        print(module.name, "says:", error)
    except ModuleNotFoundError as error:
        if error.name not in ELSEWHERE:
            raise
        print(module.name, "is for the environment of", error.name)
    count += 1
print(count, "modules imported")
