"""From the body of a chat completion to a `Reply`."""

import json
from collections.abc import Mapping
from typing import Any

from revseg.types import Reply

_LENGTH = ("max_tokens", "max_output_tokens", "model_length", "max_length")  # what other servers call "length"
_STOP = ("eos", "eos_token", "end_turn", "stop_sequence", "complete")
_LONGEST = 40  # characters of a finish reason that are kept


class Unreadable(Exception):
    """Not a chat completion. The message is the beginning of the body."""


def read_reply(body: bytes) -> Reply:
    """The reply of the first choice, with its thinking inside `<think>` tags. Null content is an empty reply.

    Servers with a reasoning parser send the thinking separately (`reasoning_content` or `reasoning`), and with
    templates that open `<think>` the reply begins inside it: in both cases the tags are completed. Unreadable for
    anything that is not a chat completion.
    """
    choice = _choice(body)
    message = choice.get("message")
    if not isinstance(message, Mapping):
        raise Unreadable(_text(body))
    content = message.get("content")
    if not isinstance(content, str | None):
        raise Unreadable(_text(body))
    refusal = message.get("refusal")
    text = content or (refusal if isinstance(refusal, str) else "")
    separate = [message.get(name) for name in ("reasoning_content", "reasoning")]
    thinking = next((one for one in separate if isinstance(one, str) and one.strip()), "")
    reason = _reason(choice.get("finish_reason"))
    return Reply(_with_thinking(text, thinking, reason), finish_reason=reason)


def _with_thinking(text: str, thinking: str, reason: str) -> str:
    start, end = text.find("<think>"), text.find("</think>")
    if end >= 0 and not 0 <= start < end:  # the reply begins inside the thinking
        return f"<think>{thinking}{text}"
    if not thinking or start >= 0:
        return text
    cut = reason == "length" and not text.strip()  # the thinking was cut off
    return f"<think>{thinking}" if cut else f"<think>{thinking}</think>{text}"


def _choice(body: bytes) -> Mapping[str, Any]:
    try:
        try:
            data = json.loads(body)
        except UnicodeDecodeError:
            data = json.loads(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise Unreadable(_text(body)) from None
    choices = data.get("choices") if isinstance(data, Mapping) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        raise Unreadable(_text(body))
    return choices[0]


def _reason(value: Any) -> str:
    if not isinstance(value, str):
        return ""
    word = value.lower()
    return "length" if word in _LENGTH else "stop" if word in _STOP else word[:_LONGEST]


def _text(body: bytes) -> str:
    """The beginning of a body, for an error message."""
    return body[:2000].decode("utf-8", "replace").strip() or "nothing"
