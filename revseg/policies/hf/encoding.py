"""From messages to the tokens, patches and positions that Qwen2.5-VL reads.

A conversation is only ever appended to: an earlier reply keeps the very tokens that were sampled, because a text
tokenised again need not give them back.
"""

import hashlib
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from einops import rearrange
from jaxtyping import Int64, UInt8

from revseg.errors import InputError
from revseg.policies.hf.mrope import Grid, positions
from revseg.types import Clip, Message, Rollout

_REPLY = "\x00reply\x00"  # stands for a reply while the chat template is rendered; no template or text contains it


@dataclass(frozen=True, eq=False)
class Block:
    """The patches of one picture or clip, as bytes: uint8[n 3*pt*p*p] and its grid."""

    patches: UInt8[np.ndarray, "n d"]
    grid: Grid
    is_video: bool


@dataclass(frozen=True, eq=False)
class Encoded:
    """A piece of a conversation: tokens, the runs they fall in (for positions) and the blocks among them."""

    token_ids: Int64[np.ndarray, " n"]
    runs: tuple[int | Grid, ...]
    blocks: tuple[Block, ...]


class Encoder:
    """Encodes prompts with a model's own tokenizer, chat template and patch sizes. `fps` is the clips' nominal rate."""

    def __init__(self, processor: Any, config: Any, *, fps: float = 2.0) -> None:
        self.tokenizer = processor.tokenizer
        self.template = processor.chat_template or processor.tokenizer.chat_template
        self.config = config
        self.patch = config.vision_config.patch_size
        self.merge = config.vision_config.spatial_merge_size
        self.temporal = config.vision_config.temporal_patch_size
        self.tokens_per_second = config.vision_config.tokens_per_second
        self.fps = fps
        self.end_id = int(self.tokenizer.eos_token_id)
        self.opened = self._opened()
        self._seen: weakref.WeakKeyDictionary[Message, Encoded] = weakref.WeakKeyDictionary()
        self._blocks: weakref.WeakValueDictionary[bytes, Block] = weakref.WeakValueDictionary()

    def prompt(self, message: Message, *, first: bool) -> Encoded:
        """The tokens of one user message with what the template puts around it.

        A later message begins with the end of the reply before it; `join` drops that when the reply has its own.
        Encoded once per message object and round: a group of rollouts shares its prompt.
        """
        if message not in self._seen:
            self._seen[message] = self._encode(message, first)
        return self._seen[message]

    def conversation(self, rollout: Rollout, prompt: Message | None) -> list[Encoded]:
        """Prompt, reply, prompt, reply ... and the open prompt, if any; concatenated they are the model's input."""
        pieces: list[Encoded] = []
        for index, turn in enumerate(rollout.turns):
            pieces.append(self._after(pieces, self.prompt(turn.prompt, first=index == 0)))
            ids = turn.reply.token_ids
            if not len(ids) and turn.reply.text:  # a reply by another policy: there are no sampled tokens to keep
                ids = np.asarray(self._tokenize(turn.reply.text), np.int64)
            pieces.append(Encoded(ids, (len(ids),), ()))
        if prompt is not None:
            pieces.append(self._after(pieces, self.prompt(prompt, first=not rollout.turns)))
        return pieces

    def positions(self, pieces: Sequence[Encoded], start: int = 0) -> tuple[Int64[np.ndarray, "3 n"], int]:
        """The rotary positions of consecutive pieces, and where the next piece would start."""
        runs = [run for piece in pieces for run in piece.runs]
        return positions(runs, start=start, tokens_per_second=self.tokens_per_second)

    def _after(self, pieces: list[Encoded], prompt: Encoded) -> Encoded:
        ended = pieces and len(pieces[-1].token_ids) and pieces[-1].token_ids[-1] == self.end_id
        if not (ended and prompt.token_ids[0] == self.end_id):
            return prompt
        assert isinstance(prompt.runs[0], int)
        return Encoded(prompt.token_ids[1:], (prompt.runs[0] - 1, *prompt.runs[1:]), prompt.blocks)

    def _encode(self, message: Message, first: bool) -> Encoded:
        content: list[dict[str, str]] = []
        blocks: list[Block] = []
        for part in message.parts:
            if isinstance(part, str):
                content.append({"type": "text", "text": part})
            else:
                blocks.append(self._block(part))
                content.append({"type": "video" if blocks[-1].is_video else "image"})
        ids = self._tokenize(self._render(content, message.role, first))
        return self._expand(ids, blocks)

    def _render(self, content: list[dict[str, str]], role: str, first: bool) -> str:
        asked = {"role": role, "content": content}
        before = [] if first else [{"role": "user", "content": "x"}, {"role": "assistant", "content": _REPLY}]
        text = self.tokenizer.apply_chat_template(
            [*before, asked], chat_template=self.template, tokenize=False, add_generation_prompt=True
        )
        return text if first else text.split(_REPLY, 1)[1]

    def _opened(self) -> str:
        """ "<think>" where the template begins every reply with it, so that the sampled tokens lack it; else ""."""
        end = self._render([{"type": "text", "text": "x"}], "user", True).rstrip()
        return "<think>" if end.endswith("<think>") else ""

    def _tokenize(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _block(self, clip: Clip) -> Block:
        """One block a content: of equal pictures in different messages the model has to see only one."""
        frames = np.ascontiguousarray(clip.frames)
        key = hashlib.blake2b(frames.data, digest_size=16, salt=str(frames.shape[:3]).encode()[:16]).digest()
        block = self._blocks.get(key)
        if block is None:
            block = self._blocks[key] = self._patched(clip)
        return block

    def _patched(self, clip: Clip) -> Block:
        side = self.patch * self.merge
        height, width = clip.size
        if height % side or width % side:
            raise InputError(
                f"this model reads pictures whose sides are multiples of {side}; the prompt shows {width}x{height}: "
                f"give the prompt size={max(side, round(height / side) * side)}"
            )
        is_video = len(clip) > 1
        frames = clip.frames
        if extra := -len(frames) % self.temporal:  # a picture is its own second half; so is a clip's odd last frame
            frames = np.concatenate([frames, np.repeat(frames[-1:], extra, 0)])
        patches = rearrange(
            frames,
            "(t pt) (h mh ph) (w mw pw) c -> (t h w mh mw) (c pt ph pw)",
            pt=self.temporal,
            mh=self.merge,
            mw=self.merge,
            ph=self.patch,
            pw=self.patch,
        )
        seconds = self.temporal / self.fps if is_video else 0.0
        grid = Grid(len(frames) // self.temporal, height // side, width // side, seconds)
        return Block(patches, grid, is_video)

    def _expand(self, ids: Sequence[int], blocks: Sequence[Block]) -> Encoded:
        """One placeholder token becomes as many as its block has."""
        tokens: list[int] = []
        runs: list[int | Grid] = []
        text, left = 0, list(blocks)
        for token in ids:
            if token in (self.config.image_token_id, self.config.video_token_id):
                if not left:
                    raise InputError("a prompt's text holds a picture's placeholder token: remove it from the query")
                grid = left.pop(0).grid
                tokens += [token] * grid.tokens
                runs += [text, grid]
                text = 0
            else:
                tokens.append(token)
                text += 1
        if left:
            raise InputError(f"the chat template left out {len(left)} of the pictures; use the model's own template")
        return Encoded(np.asarray(tokens, np.int64), (*runs, text), tuple(blocks))
