"""The HTTP client below `openai`'s own: replies of bounded size, no redirects, and errors in place of false success."""

import json
import logging
from collections.abc import Mapping
from typing import Any

from revseg.errors import PartError

INSIDE = "x-revseg-inside"  # a header of ours: the error came inside this HTTP status
_NAMED = {"rate_limit_exceeded": 429, "rate_limit_error": 429, "overloaded_error": 529, "timeout": 504}
_BODY_HEADERS = ("content-encoding", "content-length", "transfer-encoding")  # of the body as it was sent


def bounded_client(most: int, timeout: float, login: tuple[str, str] | None) -> Any:
    """An `AsyncClient` of httpx, whichever openai is built on, for one event loop; to be closed.

    A reply of more than `most` bytes is a PartError, whatever its status. A redirect is an answer as any other: whoever
    is told to go elsewhere would take the key and the pictures along. `login` is a user name and a password.
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
                        raise PartError(f"a reply of more than {most:,} bytes: raise max_bytes= if it is meant")
            finally:
                await response.aclose()
            headers = [(name, value) for name, value in response.headers.items() if name.lower() not in _BODY_HEADERS]
            status, content = response.status_code, bytes(body)
            error = error_inside(content) if response.is_success else None
            if error is not None:
                status, content = status_of(error), json.dumps({"error": error}).encode()
                headers.append((INSIDE, str(response.status_code)))
            return type(response)(status, headers=headers, content=content, request=request)

    return Bounded(timeout=timeout, follow_redirects=False, auth=login)


def _without_body(record: logging.LogRecord) -> bool:
    """False for what early releases of openai log of a whole request, whose `extra` may hold a key."""
    return not str(record.msg).startswith("Request options")


def error_inside(body: bytes) -> Any:
    """The error that a reply of HTTP 200 holds, as routers answer when a provider of theirs fails; None without one."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):  # no JSON: whoever reads the reply says so
        return None
    if not isinstance(data, Mapping):
        return None
    choices = data.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    held = first if isinstance(first, Mapping) else {}
    if error := data.get("error") or held.get("error"):
        return error
    if data.get("object") == "error":
        return dict(data)
    return "the server ended the reply with an error" if held.get("finish_reason") == "error" else None


def status_of(error: Any) -> int:
    """The HTTP status that an error means by its code; 502, a failure upstream, where it names none."""
    named = [error.get(name) for name in ("code", "status", "type")] if isinstance(error, Mapping) else []
    for code in named:
        if isinstance(code, str):
            code = int(code) if code.isascii() and code.isdigit() and len(code) == 3 else _NAMED.get(code)
        if isinstance(code, int | float) and 400 <= code <= 599:
            return int(code)
    return 502
