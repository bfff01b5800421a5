"""What codecs of families with a chat template share: prompts, conversations, placeholders and trajectories.

A conversation is only ever appended to. An earlier reply keeps the very tokens that were sampled, because its text
tokenised again need not give them back.
"""

import math
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int64

from revseg.policies.hf.codecs import pairing, pictures, sequences
from revseg.policies.hf.codecs.codec import Block, Encoded, Trajectory
from revseg.policies.hf.mrope import Grid, positions
from revseg.types import Clip, Geometry, Message, Rollout

if TYPE_CHECKING:
    import torch

_REPLY = "\x00reply\x00"  # stands for a reply while the chat template is rendered; no template or text contains it


class ChatCodec:
    """The common part of a `Codec`: a family adds `classes`, its tokens for pictures, and what it does otherwise.

    `write` is the place for families that put text between the frames of a clip, `share_pictures` for those whose
    vision tower gives more than one tensor, `tokens_per_second` for those that count time in positions.
    """

    coords = "pixel"
    side = 28  # where the configuration does not say
    cache = "full"
    image_token = "<|image_pad|>"
    video_token = "<|video_pad|>"
    picture_tokens: tuple[str, ...] = (image_token, video_token)  # never drawn
    lora_layers = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
    tokens_per_second = 1.0

    def __init__(self, processor: Any, config: Any, *, stops: Sequence[int] = (), fps: float = 2.0) -> None:
        self.processor = processor
        self.config = config
        self.fps = fps
        self.layout = pictures.Layout.of(config.vision_config)
        self.side = self.layout.side
        self.template = processor.chat_template or processor.tokenizer.chat_template
        self.end_id = int(processor.tokenizer.eos_token_id)
        self.stops = tuple(sorted({self.end_id, *stops}))
        self.suppressed = self._suppressed()
        self.opened = self._opened()
        self._seen: weakref.WeakKeyDictionary[Message, Encoded] = weakref.WeakKeyDictionary()
        self._blocks: weakref.WeakValueDictionary[bytes, Block] = weakref.WeakValueDictionary()

    @staticmethod
    def classes() -> tuple[Any, Any, Any]:
        raise NotImplementedError("a codec names transformers' classes of configuration, model and processor")

    @classmethod
    def geometry(cls, config: Mapping[str, Any]) -> Geometry:
        vision = config.get("vision_config")
        sizes = (vision.get("patch_size"), vision.get("spatial_merge_size")) if isinstance(vision, dict) else ()
        numbers = [size for size in sizes if type(size) is int and size > 0]
        return Geometry(cls.coords, math.prod(numbers) if len(numbers) == 2 else cls.side)

    @classmethod
    def check(cls, processor: Any, config: Any, folder: Path) -> None:
        pairing.check_pair(processor, config, folder, (cls.image_token, cls.video_token))

    # conversations

    def prompt(self, message: Message, *, first: bool) -> Encoded:
        """As in `Codec`. A group of rollouts shares its prompt, which is encoded once.

        A later message begins with the end of the reply before it; `encode` drops that when the reply has its own.
        """
        if message not in self._seen:
            self._seen[message] = self._encode(message, first)
        return self._seen[message]

    def encode(self, rollout: Rollout, prompt: Message | None) -> list[Encoded]:
        pieces: list[Encoded] = []
        for index, turn in enumerate(rollout.turns):
            asked = self.prompt(turn.prompt, first=index == 0)
            pieces.append(sequences.following(pieces, asked, self.end_id))
            ids = turn.reply.token_ids
            sampled = len(ids) > 0
            if not sampled and turn.reply.text:  # a reply by another policy: there are no sampled tokens to keep
                ids = np.asarray(self.tokenize(turn.reply.text), np.int64)
            pieces.append(Encoded(ids, (len(ids),), sampled=sampled))
        if prompt is not None:
            pieces.append(sequences.following(pieces, self.prompt(prompt, first=not rollout.turns), self.end_id))
        return pieces

    def positions(self, pieces: Sequence[Encoded], start: int = 0) -> tuple[Int64[np.ndarray, "3 n"], int]:
        runs = [run for piece in pieces for run in piece.runs]
        return positions(runs, start=start, tokens_per_second=self.tokens_per_second)

    def trajectory(self, rollout: Rollout) -> Trajectory:
        pieces = self.encode(rollout, None)
        return sequences.trajectory(rollout, pieces, self.positions(pieces)[0])

    # text

    def tokenize(self, text: str) -> list[int]:
        return self.processor.tokenizer(text, add_special_tokens=False)["input_ids"]

    def texts(self, replies: Sequence[np.ndarray]) -> list[str]:
        return self.processor.tokenizer.batch_decode(replies, skip_special_tokens=True)

    def write(self, text: str, blocks: Sequence[Block]) -> tuple[str, list[Grid]]:
        """The rendered text of a message as the family has it, with one placeholder per grid, and these grids.

        `blocks` are the pictures of the message; the template has written one placeholder for each.
        """
        return text, [block.grid for block in blocks]

    # pictures

    def pixels(self, blocks: Sequence[Block], device: Any = None) -> "tuple[torch.Tensor, torch.Tensor]":
        return pictures.pixels(blocks, self.layout, self.processor.image_processor, device)

    @staticmethod
    def vision_tower(model: Any) -> Any:
        return model.model.visual

    def see(self, model: Any, pixels: "torch.Tensor", grids: "torch.Tensor") -> "torch.Tensor":
        visual = self.vision_tower(model)
        return visual(pixels.type(visual.dtype), grid_thw=grids, return_dict=True).pooler_output

    def share_pictures(
        self, model: Any, inputs: "dict[str, torch.Tensor]", blocks: Sequence[Block]
    ) -> "dict[str, torch.Tensor]":
        import torch

        ids = inputs["input_ids"]
        embeds = model.get_input_embeddings()(ids)
        for is_video, pixels, grids, token in (
            (False, "pixel_values", "image_grid_thw", self.config.image_token_id),
            (True, "pixel_values_videos", "video_grid_thw", self.config.video_token_id),
        ):
            if pixels not in inputs:
                continue
            some = [block for block in blocks if block.is_video == is_video]
            distinct = list(dict.fromkeys(some))
            seen = self.see(model, inputs[pixels], inputs[grids])
            parts = seen.split([block.grid.tokens for block in distinct])
            features = torch.cat([parts[distinct.index(block)] for block in some]).to(embeds)
            embeds = embeds.masked_scatter((ids == token)[..., None], features)
        kept = [name for name in ("attention_mask", "position_ids") if name in inputs]
        return {"inputs_embeds": embeds, **{name: inputs[name] for name in kept}}

    # within

    def _encode(self, message: Message, first: bool) -> Encoded:
        content: list[dict[str, str]] = []
        blocks: list[Block] = []
        for part in message.parts:
            if isinstance(part, str):
                content.append({"type": "text", "text": part})
            else:
                blocks.append(self._block(part))
                content.append({"type": "video" if blocks[-1].is_video else "image"})
        text, grids = self.write(self._render(content, message.role, first), blocks)
        placeholders = (self.config.image_token_id, self.config.video_token_id)
        return sequences.expanded(self.tokenize(text), grids, blocks, placeholders)

    def _render(self, content: list[dict[str, str]], role: str, first: bool) -> str:
        asked = {"role": role, "content": content}
        before = [] if first else [{"role": "user", "content": "x"}, {"role": "assistant", "content": _REPLY}]
        text = self.processor.tokenizer.apply_chat_template(
            [*before, asked], chat_template=self.template, tokenize=False, add_generation_prompt=True
        )
        return text if first else text.split(_REPLY, 1)[1]

    def _opened(self) -> str:
        """ "<think>" where the template begins every reply with it, so that the sampled tokens lack it; else ""."""
        end = self._render([{"type": "text", "text": "x"}], "user", True).rstrip()
        return "<think>" if end.endswith("<think>") else ""

    def _suppressed(self) -> tuple[int, ...]:
        tokenizer = self.processor.tokenizer
        ids = tokenizer.convert_tokens_to_ids(list(self.picture_tokens))
        return tuple(sorted({i for i in ids if i is not None and i != tokenizer.unk_token_id}))

    def _block(self, clip: Clip) -> Block:
        """One block object per content: of equal pictures in different messages the model has to see only one."""
        key = pictures.digest(clip)
        block = self._blocks.get(key)
        if block is None:
            block = self._blocks[key] = pictures.patched(clip, self.layout, self.fps)
        return block
