"""One conversation recorded as verl's agent loop hands it back: tokens, which of them were sampled, and pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from revseg.types import Clip, Message

if TYPE_CHECKING:
    import torch
    from PIL import Image

MEDIA = {"do_sample_frames": False, "do_resize": False}
"""For the model's processor, in the server and in the trainer: pictures have their size, and small ones keep it."""


@dataclass
class Transcript:
    """Grows by `ask` and `hear` in turn. `prompt` is the first question; all that follows is `response`.

    `sampled` is 1 for tokens that the policy drew, with their `logprobs`; 0 for those of later questions.
    """

    prompt: list[int] = field(default_factory=list)
    response: list[int] = field(default_factory=list)
    sampled: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    images: "list[Image.Image]" = field(default_factory=list)
    videos: "list[tuple[torch.Tensor, dict[str, Any]]]" = field(default_factory=list)
    turns: int = 0  # messages and replies
    versions: list[int] = field(default_factory=list)  # of the weights that replied: first and last of each reply

    def left(self, tokens: int, limit: int) -> int:
        """How many tokens a reply may have after a question of `tokens`, when the response has at most `limit`."""
        return limit - len(self.response) - (tokens if self.prompt else 0)

    def ask(self, token_ids: Sequence[int], message: Message, fps: float) -> None:
        """A question's tokens and pictures; `fps` is the rate by which the codec counts a clip's time."""
        if self.prompt:
            self.response += token_ids
            self.sampled += [0] * len(token_ids)
            self.logprobs += [0.0] * len(token_ids)
        else:
            self.prompt += token_ids
        self.turns += 1
        for clip in message.clips:
            if len(clip) > 1:
                self.videos.append(video_of(clip, fps))
            else:
                self.images.append(image_of(clip))

    def hear(self, token_ids: Sequence[int], logprobs: Sequence[float] | None) -> None:
        """A reply's tokens; log-probs are zeros where the server gives none."""
        self.response += token_ids
        self.sampled += [1] * len(token_ids)
        self.logprobs += [0.0] * len(token_ids) if logprobs is None else logprobs
        self.turns += 1

    @property
    def pictures(self) -> dict[str, list[Any]]:
        """verl's multi_modal_data."""
        return {name: held for name, held in (("images", self.images), ("videos", self.videos)) if held}


def video_of(clip: Clip, fps: float) -> "tuple[torch.Tensor, dict[str, Any]]":
    """A clip as vLLM and verl take a video: uint8[t c h w], and metadata by which no frame is dropped."""
    import torch

    frames = torch.from_numpy(np.ascontiguousarray(clip.frames.transpose(0, 3, 1, 2)))
    count, (height, width) = len(clip), clip.size
    shown = {"fps": fps, "total_num_frames": count, "frames_indices": list(range(count)), "duration": count / fps}
    return frames, {**shown, "height": height, "width": width}


def image_of(picture: Clip) -> "Image.Image":
    """A clip of one frame as a picture of Pillow."""
    from PIL import Image

    return Image.fromarray(picture.frames[0])
