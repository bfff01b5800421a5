"""The synthetic world: its videos and questions, the small policy that knows it, and how that policy was trained.

Nothing of the method imports this package. It reaches the registries as a package of yours would: by the entry points
in `pyproject.toml`.
"""
