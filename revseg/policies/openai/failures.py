"""What went wrong between a policy and its server, in one sentence each, with what to do."""

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from revseg.errors import InputError, PartError, RevsegError
from revseg.policies.openai.http import INSIDE

_HINTS = {
    400: "The server refuses the request: does the model read pictures, does the conversation fit its context, and "
    'does it know every field? extra={"seed": null} drops one',
    401: "Set OPENAI_API_KEY (or the variable that api_key_env= names) to the server's key",
    403: "Set OPENAI_API_KEY to a key that may use this model",
    404: "Check model= against the names that the server lists under /models, and base_url=, which ends in /v1",
    413: "The pictures are too large for the server: use fewer or smaller frames, or raise its limit",
    429: "Lower concurrency=, raise retries=, or ask later",
}
_MOST = 500  # characters of what a server said


def failure_of(error: Exception, where: str, tries: str, hide: Callable[[str], str]) -> RevsegError:
    """InputError when the server cannot be reached or refuses the request, PartError when it fails or is too slow.

    `where` names model and server, `tries` how often and how long it was tried; `hide` takes keys out of a text.
    """
    import openai

    if isinstance(error, openai.APITimeoutError):
        return PartError(f"{where}: no reply in {tries}. Raise timeout=, or lower concurrency=")
    if isinstance(error, openai.APIConnectionError):
        if isinstance(error.__cause__, PartError):  # older clients wrap what they do not know
            return PartError(f"{where}: {error.__cause__}")
        hint = "Start the server, or mend base_url= (or OPENAI_BASE_URL); it ends in /v1"
        return InputError(f"{where}: no connection ({_short(hide(_below(error)))}). {hint}")
    if isinstance(error, openai.APIStatusError):
        return _of_status(error, where, hide)
    return PartError(f"{where}: {not_a_completion(hide(repr(error)))}")


def not_a_completion(came: str) -> str:
    """What to say of a body that is no chat completion."""
    return f"expected a chat completion, got {_short(came)}"


def _of_status(error: Any, where: str, hide: Callable[[str], str]) -> RevsegError:
    status, body = error.status_code, error.body
    said = _short(hide(str(body.get("message", body) if isinstance(body, Mapping) else body or error.message)))
    if 300 <= status < 400:
        place = _short(hide(error.response.headers.get("location", "elsewhere")))
        return InputError(
            f"{where}: HTTP {status}, a redirect to {place}: not followed, for key and pictures would go along. Set "
            "base_url= to where the server is"
        )
    ours = status < 500 and status not in (408, 409, 429)
    hint = _HINTS.get(status, _HINTS[400] if ours else "Look at the server's log")
    told = f"HTTP {status}: {said}"
    if inside := error.response.headers.get(INSIDE):
        told = f"expected a chat completion, got an error inside HTTP {inside}, taken for {told}"
    return (InputError if ours else PartError)(f"{where}: {told}. {hint}")


def _below(error: BaseException) -> str:
    """What the system says went wrong, such as "Connection refused"; else the text of the client's own cause."""
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
