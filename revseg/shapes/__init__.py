"""The synthetic world: its videos and questions, the small policy trained on it, that training, and the demo.

Nothing of the method imports this package. It reaches the registries as any plug-in package does: by the entry points
in `pyproject.toml`.
"""
