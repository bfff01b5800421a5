"""The HTTP client below `openai`'s: bounded replies, no redirects, and errors where HTTP 200 contains an error."""

import json
import logging
from collections.abc import Mapping
from typing import Any

from revseg.errors import PartError

IDLE = 2.0  # seconds that a connection is kept for the next request: servers close theirs after 5 s or more
INSIDE = "x-revseg-inside"  # our own header: the HTTP status in whose body the error came
_NAMED = {"rate_limit_exceeded": 429, "rate_limit_error": 429, "overloaded_error": 529, "timeout": 504}
_BODY_HEADERS = ("content-encoding", "content-length", "transfer-encoding")  # true of the body as sent only


def bounded_client(most: int, timeout: float, login: tuple[str, str] | None) -> Any:
    """An httpx `AsyncClient` of the release that openai uses, for one event loop; the caller closes it.

    A reply of more than `most` bytes is a PartError, whatever its status. Redirects are not followed, because the key
    and the pictures would be sent along. `login` is a user name and a password. An idle connection is closed before the
    server would close it: a request sent at that moment would be lost.
    """
    import openai

    logging.getLogger("openai._base_client").addFilter(_without_body)

    class Bounded(openai.DefaultAsyncHttpxClient):
        async def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
            response = await super().send(request, stream=True, **options)
            try:
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > most:
                        raise PartError(f"a reply of more than {most:,} bytes: raise max_bytes= if that is intended")
            finally:
                await response.aclose()
            headers = [(name, value) for name, value in response.headers.items() if name.lower() not in _BODY_HEADERS]
            status, content = response.status_code, bytes(body)
            error = error_inside(content) if response.is_success else None
            if error is not None:
                status, content = status_of(error), json.dumps({"error": error}).encode()
                headers.append((INSIDE, str(response.status_code)))
            return type(response)(status, headers=headers, content=content, request=request)

    limits = openai.DEFAULT_CONNECTION_LIMITS
    limits = type(limits)(
        max_connections=limits.max_connections,
        max_keepalive_connections=limits.max_keepalive_connections,
        keepalive_expiry=IDLE,
    )
    return Bounded(timeout=timeout, limits=limits, follow_redirects=False, auth=login)


def _without_body(record: logging.LogRecord) -> bool:
    """False for the log records in which early releases of openai show a whole request: `extra` may contain a key."""
    return not str(record.msg).startswith("Request options")


def error_inside(body: bytes) -> Any:
    """The error in the body of an HTTP 200, as routers send when a provider fails; None if there is none."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):  # not JSON: `read_reply` raises
        return None
    if not isinstance(data, Mapping):
        return None
    choices = data.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    choice = first if isinstance(first, Mapping) else {}
    if error := data.get("error") or choice.get("error"):
        return error
    if data.get("object") == "error":
        return dict(data)
    return "the server ended the reply with an error" if choice.get("finish_reason") == "error" else None


def status_of(error: Any) -> int:
    """The HTTP status that an error's code stands for; 502, an upstream failure, if it has none."""
    named = [error.get(name) for name in ("code", "status", "type")] if isinstance(error, Mapping) else []
    for code in named:
        if isinstance(code, str):
            code = int(code) if code.isascii() and code.isdigit() and len(code) == 3 else _NAMED.get(code)
        if isinstance(code, int | float) and 400 <= code <= 599:
            return int(code)
    return 502
