"""A policy behind any server that speaks OpenAI's chat API: vLLM, SGLang, or a hosted model."""

import base64
import io
import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from revseg.errors import InputError, PartError, RevsegError
from revseg.registry import register
from revseg.rollout.seeding import row_seeds
from revseg.types import Clip, Message, Reply, Rollout, Sampling

_HINTS = {
    400: "The server refuses the request: does the model read pictures, does the conversation fit its context, and "
    'does it know every field? extra={"seed": null} drops one',
    401: "Set OPENAI_API_KEY to the server's key",
    403: "Set OPENAI_API_KEY to a key that may use this model",
    404: "Check model= against the names that the server lists under /models, and base_url=, which ends in /v1",
    413: "The pictures are too large for the server: use fewer or smaller frames, or raise its limit",
    429: "Lower concurrency=, raise retries=, or ask later",
}


@register("policy", "openai")
class OpenAIPolicy:
    """Any OpenAI-compatible chat server, through the official client; the whole conversation goes in every request.

    Options: `model` its name on the server; `base_url` such as http://localhost:8000/v1 (else OPENAI_BASE_URL, else
    OpenAI's own); `api_key` (else OPENAI_API_KEY; a local server needs none), which records of a run would show, so
    prefer the variable; `timeout` seconds to wait for the server; `retries` after a failed connection, a time-out,
    429 or 5xx, with growing pauses; `concurrency` requests at a time; `image_format` "jpeg" or "png" (exact, larger);
    `video` how a clip of several frames is sent: "frames", a picture each, is read by every server but costs
    Qwen2.5-VL twice the tokens of "video_url", one video of JPEG frames as vLLM reads it; `extra` further fields of
    the request, such as {"mm_processor_kwargs": {...}}; they win over revseg's own, and null drops one.

    Replies hold text only: a policy to evaluate, not to train. InputError when the server cannot be reached or
    refuses the request, PartError when it fails, is too slow or answers something else than a chat completion.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float = 120.0,
        retries: int = 3,
        concurrency: int = 8,
        image_format: str = "jpeg",
        video: str = "frames",
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        import openai

        self.model, self.timeout, self.retries, self.concurrency = model, timeout, retries, concurrency
        self.image_format, self.video, self.extra = image_format, video, {} if extra is None else extra
        self._check()
        self._key = api_key or os.environ.get("OPENAI_API_KEY") or "EMPTY"
        self._client = openai.OpenAI(base_url=base_url, api_key=self._key, timeout=timeout, max_retries=retries)

    def __repr__(self) -> str:
        return f"OpenAIPolicy({self.model!r}, base_url={self.base_url!r})"

    @property
    def base_url(self) -> str:
        """Where requests go, without a user name and password that it may hold."""
        return re.sub(r"//[^/@]*@", "//", str(self._client.base_url)).rstrip("/")

    def reply(self, rollouts: Sequence[Rollout], prompts: Sequence[Message], *, sampling: Sampling) -> list[Reply]:
        """One reply a conversation, in order. The first failure stops the batch; what is queued is not sent."""
        encoded: dict[int, list[dict[str, Any]] | str] = {}

        def ask(rollout: Rollout, prompt: Message, seed: int) -> Reply:
            messages = []
            for turn in rollout.turns:
                messages += [self._message(turn.prompt, encoded), {"role": "assistant", "content": turn.reply.text}]
            messages.append(self._message(prompt, encoded))
            return Reply(self._complete(messages, sampling, seed))

        with ThreadPoolExecutor(self.concurrency) as pool:
            seeds = [seed >> 32 for seed in row_seeds(rollouts, prompts, sampling)]  # 31 bits: any server's integer
            return list(pool.map(ask, rollouts, prompts, seeds))

    def _message(self, message: Message, encoded: dict[int, list[dict[str, Any]] | str]) -> dict[str, Any]:
        """A message as the API has it. A group shares its prompts, so each is encoded once a batch."""
        if id(message) not in encoded:
            parts = [p for part in message.parts for p in self._parts(part)]
            encoded[id(message)] = parts if message.clips else message.text
        return {"role": message.role, "content": encoded[id(message)]}

    def _parts(self, part: str | Clip) -> list[dict[str, Any]]:
        if isinstance(part, str):
            return [{"type": "text", "text": part}]
        frames = [_encode(frame, self.image_format) for frame in part.frames]
        if self.video == "video_url" and len(frames) > 1:
            return [{"type": "video_url", "video_url": {"url": f"data:video/jpeg;base64,{','.join(frames)}"}}]
        head = f"data:image/{self.image_format};base64,"
        return [{"type": "image_url", "image_url": {"url": head + frame}} for frame in frames]

    def _complete(self, messages: list[dict[str, Any]], sampling: Sampling, seed: int) -> str:
        """One request. Null content, as of a refusal, is an empty reply: the model's failure, not ours."""
        import openai

        fields: dict[str, Any] = {
            "temperature": max(sampling.temperature, 0.0),
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_new_tokens,
            "seed": seed,
        }
        if sampling.top_k:
            fields["top_k"] = sampling.top_k  # not OpenAI's own; vLLM and SGLang know it
        fields = {key: value for key, value in {**fields, **self.extra}.items() if value is not None}
        try:
            done: Any = self._client.chat.completions.create(
                model=self.model, messages=_clean(messages), extra_body=fields
            )
        except (openai.OpenAIError, ValueError) as error:
            raise self._failure(error) from None  # the message says it all; a server may echo the key in its own
        try:
            content = done.choices[0].message.content
        except (AttributeError, TypeError, IndexError):  # the client lets any JSON pass, and a web page too
            content = done
        if isinstance(content, str | None) and content is not done:
            return content or ""
        raise PartError(f"{self._where}: expected a chat completion, got {self._shorten(repr(done))}")

    def _failure(self, error: Exception) -> RevsegError:
        import openai

        if isinstance(error, openai.APITimeoutError):
            tries = f"in {self.retries + 1} tries of {self.timeout:g} s"
            return PartError(f"{self._where}: no reply {tries}. Raise timeout=, or lower concurrency=")
        if isinstance(error, openai.APIConnectionError):
            hint = "Start the server, or mend base_url= (or OPENAI_BASE_URL); it ends in /v1"
            return InputError(f"{self._where}: no connection ({self._shorten(str(error.__cause__))}). {hint}")
        if isinstance(error, openai.APIStatusError):
            status, body = error.status_code, error.body
            said = self._shorten(str(body.get("message", body) if isinstance(body, Mapping) else body or error.message))
            ours = status < 500 and status not in (408, 409, 429)
            hint = _HINTS.get(status, _HINTS[400] if ours else "Look at the server's log")
            return (InputError if ours else PartError)(f"{self._where}: HTTP {status}: {said}. {hint}")
        return PartError(f"{self._where}: expected a chat completion, got {self._shorten(repr(error))}")

    @property
    def _where(self) -> str:
        return f"model {self.model!r} at {self.base_url}"

    def _shorten(self, text: str) -> str:
        hidden = text if self._key == "EMPTY" else text.replace(self._key, "***")
        return hidden if len(hidden) <= 500 else f"{hidden[:500]}..."

    def _check(self) -> None:
        if self.image_format not in ("jpeg", "png"):
            raise InputError(f"image_format={self.image_format!r}: expected jpeg or png")
        if self.video not in ("frames", "video_url"):
            raise InputError(f"video={self.video!r}: expected frames or video_url")
        if self.video == "video_url" and self.image_format != "jpeg":
            raise InputError("video=video_url sends JPEG frames: leave image_format=jpeg, or use video=frames")
        if self.timeout <= 0 or self.retries < 0 or self.concurrency < 1:
            came = f"timeout={self.timeout!r}, retries={self.retries!r}, concurrency={self.concurrency!r}"
            raise InputError(f"expected timeout above 0, retries of 0 or more and concurrency of 1 or more; got {came}")
        if not isinstance(self.extra, Mapping) or {"messages", "stream"} & set(self.extra):
            raise InputError(f"extra={self.extra!r}: expected a dict of request fields, without messages and stream")


def _encode(frame: np.ndarray, image_format: str) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    options = {"quality": 95, "subsampling": 0} if image_format == "jpeg" else {}  # 0: colours at full resolution
    Image.fromarray(frame).save(buffer, image_format, **options)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _clean(value: Any) -> Any:
    """Half of a surrogate pair, as a reply cut short may end with, cannot be sent: it becomes a question mark."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8") if not value.isascii() else value
    if isinstance(value, list):
        return [_clean(item) for item in value]
    return {key: _clean(item) for key, item in value.items()} if isinstance(value, dict) else value
