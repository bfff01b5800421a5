"""A conversation as the messages of a chat request: texts, and pictures as data URLs."""

import base64
import io
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from revseg.types import Clip, Message, Rollout


class MessageEncoder:
    """Encodes each `Message` once and keeps the result as long as the message lives.

    Groups share their prompts, and later rounds repeat them. `image_format` and `video` are those of `OpenAIPolicy`.
    """

    def __init__(self, image_format: str, video: str) -> None:
        self.image_format, self.video = image_format, video
        self._contents: WeakKeyDictionary[Message, Any] = WeakKeyDictionary()

    def __call__(self, rollout: Rollout, prompt: Message) -> list[dict[str, Any]]:
        """The conversation so far and the prompt."""
        messages = []
        for turn in rollout.turns:
            messages += [self._message(turn.prompt), {"role": "assistant", "content": turn.reply.whole}]
        return _well_formed([*messages, self._message(prompt)])

    def _message(self, message: Message) -> dict[str, Any]:
        content = self._contents.get(message)
        if content is None:
            content = [p for part in message.parts for p in self._parts(part)] if message.clips else message.text
            self._contents[message] = content
        return {"role": message.role, "content": content}

    def _parts(self, part: str | Clip) -> list[dict[str, Any]]:
        if isinstance(part, str):
            return [{"type": "text", "text": part}]
        frames = [_base64(frame, self.image_format) for frame in part.frames]
        if self.video == "video_url" and len(frames) > 1:
            return [{"type": "video_url", "video_url": {"url": f"data:video/jpeg;base64,{','.join(frames)}"}}]
        head = f"data:image/{self.image_format};base64,"
        return [{"type": "image_url", "image_url": {"url": head + frame}} for frame in frames]


def _base64(frame: np.ndarray, image_format: str) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    options = {"quality": 95, "subsampling": 0} if image_format == "jpeg" else {}  # 0: colours at full resolution
    Image.fromarray(frame).save(buffer, image_format, **options)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _well_formed(value: Any) -> Any:
    """Lone surrogates, with which a reply may be cut short, cannot be sent: each becomes a question mark."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8") if not value.isascii() else value
    if isinstance(value, list):
        return [_well_formed(item) for item in value]
    return {key: _well_formed(item) for key, item in value.items()} if isinstance(value, dict) else value
