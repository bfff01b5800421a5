"""The command line, one module for each group of commands."""

from revseg.cli.app import app, main

__all__ = ["app", "main"]
