"""The one exception family of the library, and its warning.

Every error that a user can cause derives from `RevsegError` and says what was expected, what came, and what to do.
A model's bad answer is never one of them: it is an `Answer` with its `error` filled in.
"""


class RevsegError(Exception):
    """Anything that revseg itself raises."""


class SpecError(RevsegError, ValueError):
    """A part's name, option or spec text that does not exist or does not parse."""


class InputError(RevsegError, ValueError):
    """An argument of the wrong kind, shape or range."""


class VideoError(RevsegError, ValueError):
    """A video that cannot be opened or read; names the file."""


class OutputError(RevsegError, OSError):
    """An output that cannot be written, or that exists and may not be overwritten."""


class PartError(RevsegError):
    """A part that broke its contract: a reward outside [0, 1], a tracker that lost frames."""


class RunStopped(RevsegError):
    """A part that cannot go on, such as a server that is down: the run stops, and the rows written so far are kept."""


class MissingExtraError(RevsegError, ImportError):
    """An optional package is not installed; the message has the `pip install` command."""


class RevsegWarning(UserWarning):
    """Something that does not stop the run but that the user should know."""


class FootageWarning(RevsegWarning):
    """A policy that is asked about videos of a kind that it does not know."""
