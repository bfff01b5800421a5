"""Failures between a policy and its server, as errors of one sentence that say what to do."""

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from revseg.errors import InputError, PartError, RevsegError
from revseg.policies.openai.http import INSIDE

_HINTS = {
    400: "The server refuses the request: check that the model reads pictures, that the conversation "
    'fits its context, and that the server knows every field; extra={"seed": null} removes one',
    401: "Set OPENAI_API_KEY (or the variable that api_key_env= names) to the server's key",
    403: "Set OPENAI_API_KEY to a key that may use this model",
    404: "Check model= against the names that the server lists under /models, and base_url=, which ends in /v1",
    413: "The pictures are too large for the server: use fewer or smaller frames, or raise its limit",
    429: "Lower concurrency=, raise retries=, or try later",
}
_MOST = 500  # characters of a server's message that are shown


def failure_of(error: Exception, where: str, tries: str, hide: Callable[[str], str]) -> RevsegError:
    """InputError if the server cannot be reached or refuses the request, PartError if it fails or is too slow.

    `where` names model and server, `tries` the number of tries and their time-out; `hide` removes keys from a text.
    """
    import openai

    if isinstance(error, openai.APITimeoutError):
        return PartError(f"{where}: no reply in {tries}. Raise timeout=, or lower concurrency=")
    if isinstance(error, openai.APIConnectionError):
        if isinstance(error.__cause__, PartError):  # older clients wrap errors that they do not know
            return PartError(f"{where}: {error.__cause__}")
        hint = "Start the server, or correct base_url= (or OPENAI_BASE_URL); it ends in /v1"
        return InputError(f"{where}: no connection ({_short(hide(_cause(error)))}). {hint}")
    if isinstance(error, openai.APIStatusError):
        return _of_status(error, where, hide)
    return PartError(f"{where}: {not_a_completion(hide(repr(error)))}")


def not_a_completion(body: str) -> str:
    """The message about a body that is not a chat completion."""
    return f"expected a chat completion, got {_short(body)}"


def _of_status(error: Any, where: str, hide: Callable[[str], str]) -> RevsegError:
    status, body = error.status_code, error.body
    message = _short(hide(str(body.get("message", body) if isinstance(body, Mapping) else body or error.message)))
    if 300 <= status < 400:
        place = _short(hide(error.response.headers.get("location", "elsewhere")))
        return InputError(
            f"{where}: HTTP {status}, a redirect to {place}: not followed, because key and pictures "
            "would be sent there. Set base_url= to the server's own address"
        )
    ours = status < 500 and status not in (408, 409, 429)
    hint = _HINTS.get(status, _HINTS[400] if ours else "Look at the server's log")
    what = f"HTTP {status}: {message}"
    if inside := error.response.headers.get(INSIDE):
        what = f"expected a chat completion, got an error inside HTTP {inside}, taken for {what}"
    return (InputError if ours else PartError)(f"{where}: {what}. {hint}")


def _cause(error: BaseException) -> str:
    """The operating system's message, such as "Connection refused"; else that of the client's own cause."""
    for found in _chain(error):
        if isinstance(found, OSError) and found.errno is not None:
            return os.strerror(found.errno) if found.errno > 0 else str(found.strerror or found)
    return str(error.__cause__ or error)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            yield from error.exceptions
        error = error.__cause__ or error.__context__


def _short(text: str) -> str:
    return text if len(text) <= _MOST else f"{text[:_MOST]}..."
